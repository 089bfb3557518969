#include "recipes.h"

namespace recipes {

// region client
dashgate::Client make_patient_client(dashgate::ClientOptions options) {
  options.max_retries = 3;
  options.timeout = std::chrono::minutes(2);  // no call waits longer than this
  return dashgate::Client(std::move(options));
}
// endregion

// region postpone
std::optional<dashgate::Answer> answer_or_postpone(const dashgate::Client& client,
                                                   const dashgate::Conversation& conversation) {
  try {
    return client.converse(conversation);
  } catch (const dashgate::Error& error) {
    if (!error.retryable()) throw;
    return std::nullopt;  // put it back into the queue, for error.retry_after() if that is set
  }
}
// endregion

}  // namespace recipes
