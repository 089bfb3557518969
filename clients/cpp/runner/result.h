// The result of one job of the conformance suite.
#ifndef DASHGATE_RUNNER_RESULT_H_
#define DASHGATE_RUNNER_RESULT_H_

#include <dashgate/answer.h>
#include <dashgate/error.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace runner {

// Values as JSON text.
std::string describe(const dashgate::Answer& answer, bool with_headers = true);
std::string describe(const dashgate::Error& error);

// Lists of JSON texts. What is unset is not reported.
struct Result {
  std::optional<std::vector<std::string>> answers, events, deltas, tool_calls, live, speech,
      uploads, models, mime_types, stored;
  std::string conversation;
  std::string partial;
  std::string value;
  std::optional<int> last_turn;
  std::string error;

  std::string text(std::chrono::milliseconds elapsed) const;
};

// Appends to a list that may be unset.
void add_to(std::optional<std::vector<std::string>>& list, std::string item);

}  // namespace runner

#endif  // DASHGATE_RUNNER_RESULT_H_
