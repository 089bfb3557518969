// The loop of tools.
#ifndef DASHGATE_RUNNER_TOOLS_H_
#define DASHGATE_RUNNER_TOOLS_H_

#include <dashgate/client.h>

#include "json.h"
#include "result.h"

namespace runner {

void play_tools(const dashgate::Client& client, Object& call, Result& result);

}  // namespace runner

#endif  // DASHGATE_RUNNER_TOOLS_H_
