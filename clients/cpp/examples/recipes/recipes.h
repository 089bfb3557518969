// The recipes of RECIPES.md, which the tests run.
#ifndef DASHGATE_RECIPES_H_
#define DASHGATE_RECIPES_H_

#include <dashgate/dashgate.h>

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace recipes {

// The result of one file: a text, or an error.
struct Transcript {
  std::filesystem::path file;
  std::string text;
  std::optional<dashgate::Error> error;
};

// Transcribes files, some at a time.
std::vector<Transcript> transcribe(
    const dashgate::Client& client, const std::vector<std::filesystem::path>& files,
    std::size_t workers, const std::function<void(std::size_t done, std::size_t all)>& progress);

// Answers lines with streams, and runs the tools that the model calls.
void chat(const dashgate::Client& client, const std::vector<dashgate::Tool>& tools,
          std::istream& input, std::ostream& output);

// Makes a client that makes throttled calls again.
dashgate::Client make_patient_client(dashgate::ClientOptions options);

// Answers, or returns nothing if the same call may succeed later.
std::optional<dashgate::Answer> answer_or_postpone(const dashgate::Client& client,
                                                   const dashgate::Conversation& conversation);

// Returns the value of `traceparent` for the span of this thread; empty for none.
using CurrentTrace = std::function<std::string()>;

// Makes a client that sends the trace of each call to the gateway.
dashgate::Client make_traced_client(dashgate::ClientOptions options, CurrentTrace current_trace);

}  // namespace recipes

#endif  // DASHGATE_RECIPES_H_
