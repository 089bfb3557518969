// Stored conversations.
#ifndef DASHGATE_RUNNER_STORED_H_
#define DASHGATE_RUNNER_STORED_H_

#include <dashgate/client.h>

#include <string>

#include "json.h"
#include "result.h"

namespace runner {

// Does the steps of a job in order.
void play_stored(const dashgate::Client& client, Object& call, Result& result);

// Creates a conversation of this name.
void create(const dashgate::Client& client, const std::string& name, const std::string& model);

}  // namespace runner

#endif  // DASHGATE_RUNNER_STORED_H_
