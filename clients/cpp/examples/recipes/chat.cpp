#include <istream>
#include <ostream>

#include "recipes.h"

namespace recipes {

// region chat
void chat(const dashgate::Client& client, const std::vector<dashgate::Tool>& tools,
          std::istream& input, std::ostream& output) {
  dashgate::Conversation conversation("qwen3.6-plus", "Answer briefly.");
  dashgate::ToolOptions options;
  options.parallel = true;  // the functions of an answer run at the same time
  for (std::string line; std::getline(input, line);) {
    const dashgate::Conversation before = conversation;
    conversation.user(line);
    try {
      for (const auto& text : client.stream_tools(conversation, tools, options).text_deltas()) {
        output << text << std::flush;
      }
      output << '\n';
    } catch (const dashgate::Error& error) {
      conversation = before;  // the question can be asked again
      output << error.what() << '\n';
    }
  }
}
// endregion

}  // namespace recipes
