// One job of the conformance suite.
#ifndef DASHGATE_RUNNER_JOB_H_
#define DASHGATE_RUNNER_JOB_H_

#include <string>

namespace runner {

// Does what the job says through the library, as a user would, and tells what came of it. Throws
// Fault if the job is not one.
std::string play(const std::string& job);

}  // namespace runner

#endif  // DASHGATE_RUNNER_JOB_H_
