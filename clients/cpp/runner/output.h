// Message lists and structured output.
#ifndef DASHGATE_RUNNER_OUTPUT_H_
#define DASHGATE_RUNNER_OUTPUT_H_

#include <dashgate/client.h>

#include "json.h"
#include "result.h"

namespace runner {

void play_messages(Object& call, Result& result);
void play_structured(const dashgate::Client& client, Object& call, Result& result);

}  // namespace runner

#endif  // DASHGATE_RUNNER_OUTPUT_H_
