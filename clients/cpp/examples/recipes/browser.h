// The recipe for browsers, which needs cpp-httplib.
#ifndef DASHGATE_RECIPES_BROWSER_H_
#define DASHGATE_RECIPES_BROWSER_H_

#include <dashgate/dashgate.h>
#include <httplib.h>

namespace recipes {

// Answers the question in the parameter `q` of `/answer` with server-sent events. The client must
// outlive the server.
void add_answers(httplib::Server& server, const dashgate::Client& client);

}  // namespace recipes

#endif  // DASHGATE_RECIPES_BROWSER_H_
