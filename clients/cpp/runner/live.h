// The live sessions of the conformance suite.
#ifndef DASHGATE_RUNNER_LIVE_H_
#define DASHGATE_RUNNER_LIVE_H_

#include <dashgate/client.h>

#include "json.h"
#include "result.h"

namespace runner {

// Does the steps of a session, and reads it to its end.
void play_live(const dashgate::Client& client, Object& call, Result& result);
void play_speech(const dashgate::Client& client, Object& call, Result& result);

}  // namespace runner

#endif  // DASHGATE_RUNNER_LIVE_H_
