// One job of the conformance suite.
#ifndef DASHGATE_RUNNER_JOB_H_
#define DASHGATE_RUNNER_JOB_H_

#include <string>

namespace runner {

// Runs the job through the public functions of the library and returns the result. Throws `Fault`
// if the job is invalid.
std::string play(const std::string& job);

}  // namespace runner

#endif  // DASHGATE_RUNNER_JOB_H_
