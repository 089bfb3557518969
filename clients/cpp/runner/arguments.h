// What the calls of a job have in common.
#ifndef DASHGATE_RUNNER_ARGUMENTS_H_
#define DASHGATE_RUNNER_ARGUMENTS_H_

#include <dashgate/conversation.h>
#include <dashgate/options.h>

#include <chrono>
#include <optional>
#include <string>

#include "json.h"

namespace runner {

// Returns the bytes of a file.
std::string read(const std::string& path);

// Returns a number of milliseconds.
std::optional<std::chrono::milliseconds> optional_span(Object& object, const std::string& key);

dashgate::Metadata metadata_of(Object& object);

// Returns a number that may be missing.
std::optional<int> optional_int(Object& object, const std::string& key);

// Reads the options of a call.
dashgate::CallOptions read_call_options(Object& call);

dashgate::Conversation read_conversation(Object& call);

}  // namespace runner

#endif  // DASHGATE_RUNNER_ARGUMENTS_H_
