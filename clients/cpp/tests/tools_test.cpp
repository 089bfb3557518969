#include <dashgate/v1/media_service.pb.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::Error;
using tests::failure_of;

v1::ToolCall& ask_for(v1::ConverseResponse& response, const char* id, const char* name) {
  v1::Message& message = *response.mutable_choices()->begin()->mutable_message();
  message.set_role(v1::ROLE_ASSISTANT);
  v1::ToolCall& call = *message.add_tool_calls();
  call.set_id(id);
  call.set_name(name);
  call.set_arguments("{\"n\":1}");
  return call;
}

TEST(Tools, AreCalledUntilTheModelHasEnough) {
  tests::Server server;
  v1::ConverseRequest last;
  server.converse = [&](int number, grpc::ServerContext&, const v1::ConverseRequest& request,
                        v1::ConverseResponse& response) {
    last = request;
    response.add_choices();
    if (number == 1) {
      ask_for(response, "c1", "add");
      ask_for(response, "c2", "no\"ne");
    } else {
      response.mutable_choices(0)->mutable_message()->add_content()->set_text("2");
    }
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  dashgate::ToolOptions options;
  options.request_id = "mine";
  std::string arguments;
  const auto add = [&](const std::string& given) {
    arguments = given;
    return std::string("two");
  };
  const dashgate::Answer answer =
      client.run_tools(conversation, {{"add", "adds", "{}", add}}, options);
  EXPECT_EQ(answer.text(), "2");
  EXPECT_EQ(arguments, "{\"n\":1}");
  ASSERT_EQ(last.conversation().messages_size(), 4);
  EXPECT_EQ(last.conversation().messages(2).content(0).text(), "two");
  EXPECT_EQ(last.conversation().messages(2).tool_call_id(), "c1");
  EXPECT_EQ(last.conversation().messages(3).content(0).text(),
            R"({"error":"there is no tool no\"ne"})");
  EXPECT_EQ(last.conversation().tools(0).function().name(), "add");
  EXPECT_EQ(conversation.raw().messages_size(), 5);
  EXPECT_EQ(server.seen().at(0).request_id, "mine");
  EXPECT_EQ(server.seen().at(1).request_id, "mine-2");
}

TEST(Tools, AResultThatIsNotUtf8IsRepaired) {
  tests::Server server;
  server.converse = [&](int number, grpc::ServerContext&, const v1::ConverseRequest&,
                        v1::ConverseResponse& response) {
    response.add_choices();
    if (number % 2 == 1) ask_for(response, "c", "read");
    return grpc::Status::OK;
  };
  const Client client(server.options());
  const auto read = [](const std::string&) { return std::string("caf\xe9 \xff\xfe! \xc3\xa9"); };
  for (const bool is_parallel : {false, true}) {
    dashgate::Conversation conversation = tests::question();
    dashgate::ToolOptions options;
    options.parallel = is_parallel;
    client.run_tools(conversation, {{"read", "", "{}", read}}, options);
    EXPECT_EQ(conversation.raw().messages(2).content(0).text(),
              "caf\xef\xbf\xbd \xef\xbf\xbd! \xc3\xa9");
  }
}

TEST(Tools, EndAfterTheRounds) {
  tests::Server server;
  server.converse = [](int, grpc::ServerContext&, auto&&, v1::ConverseResponse& response) {
    response.add_choices();
    ask_for(response, "c", "f");
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  int calls = 0;
  const auto count = [&](const std::string&) { return std::to_string(++calls); };
  dashgate::ToolOptions options;
  options.max_rounds = 2;
  const Error error =
      failure_of([&] { client.run_tools(conversation, {{"f", "", "", count}}, options); });
  EXPECT_EQ(error.code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(error.raw_reason(), "TOOL_ROUNDS");
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(server.seen().size(), 3U);
}

TEST(Tools, AnErrorOfTheFunctionReachesTheCaller) {
  tests::Server server;
  server.converse = [](int, grpc::ServerContext&, auto&&, v1::ConverseResponse& response) {
    response.add_choices();
    ask_for(response, "c", "f");
    return grpc::Status::OK;
  };
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  const auto fail = [](const std::string&) -> std::string { throw std::out_of_range("no"); };
  EXPECT_THROW(client.run_tools(conversation, {{"f", "", "", fail}}), std::out_of_range);
  // No call stays unanswered.
  const v1::Message& last = *conversation.raw().messages().rbegin();
  EXPECT_EQ(last.tool_call_id(), "c");
  EXPECT_EQ(last.content(0).text(), R"({"error":"the function failed"})");
}

// Asks for two functions, then answers.
void ask_for_two(tests::Server& server) {
  server.converse = [](int number, grpc::ServerContext&, auto&&, v1::ConverseResponse& response) {
    response.add_choices();
    if (number == 1) {
      ask_for(response, "c1", "f");
      ask_for(response, "c2", "g");
    }
    return grpc::Status::OK;
  };
}

TEST(Tools, RunAtTheSameTimeAndKeepTheirOrder) {
  tests::Server server;
  ask_for_two(server);
  std::mutex mutex;
  std::condition_variable changed;
  int begun = 0;
  // Each waits until both have begun.
  const auto meet = [&](const std::string& result) {
    std::unique_lock lock(mutex);
    ++begun;
    changed.notify_all();
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return begun == 2; }));
    return result;
  };
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  dashgate::ToolOptions options;
  options.parallel = true;
  client.run_tools(conversation,
                   {{"f", "", "", [&](auto&&) { return meet("one"); }},
                    {"g", "", "", [&](auto&&) { return meet("two"); }}},
                   options);
  EXPECT_EQ(conversation.raw().messages(2).tool_call_id(), "c1");
  EXPECT_EQ(conversation.raw().messages(2).content(0).text(), "one");
  EXPECT_EQ(conversation.raw().messages(3).content(0).text(), "two");
}

TEST(Tools, TheFirstErrorOfSeveralIsThrownAndNoCallIsLeft) {
  tests::Server server;
  ask_for_two(server);
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  dashgate::ToolOptions options;
  options.parallel = true;
  const auto fail = [](auto&&) -> std::string { throw std::out_of_range("no"); };
  const auto answer = [](auto&&) { return std::string("two"); };
  EXPECT_THROW(
      client.run_tools(conversation, {{"f", "", "", fail}, {"g", "", "", answer}}, options),
      std::out_of_range);
  EXPECT_EQ(conversation.raw().messages(2).content(0).text(), R"({"error":"the function failed"})");
  EXPECT_EQ(conversation.raw().messages(3).content(0).text(), "two");
}

// Asks for a function so often in one answer, then answers.
void ask_for_many(tests::Server& server, int count) {
  server.converse = [count](int number, grpc::ServerContext&, auto&&,
                            v1::ConverseResponse& response) {
    response.add_choices();
    for (int call = 0; number == 1 && call < count; ++call) {
      ask_for(response, std::to_string(call).c_str(), "f");
    }
    return grpc::Status::OK;
  };
}

TEST(Tools, AtMostSixteenRunAtTheSameTime) {
  tests::Server server;
  ask_for_many(server, 40);
  std::mutex mutex;
  std::condition_variable changed;
  int running = 0;
  int most = 0;
  int begun = 0;
  // The first sixteen wait for each other.
  const auto meet = [&](const std::string&) {
    std::unique_lock lock(mutex);
    ++begun;
    most = std::max(most, ++running);
    changed.notify_all();
    EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return begun >= 16; }));
    --running;
    return std::string("ran");
  };
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  dashgate::ToolOptions options;
  options.parallel = true;
  client.run_tools(conversation, {{"f", "", "", meet}}, options);
  EXPECT_EQ(begun, 40);
  EXPECT_EQ(most, 16);
  ASSERT_EQ(conversation.raw().messages_size(), 43);
  EXPECT_EQ(conversation.raw().messages(41).tool_call_id(), "39");
}

TEST(Tools, AfterACancellationNoneIsRunAndNoCallIsLeft) {
  for (const bool parallel : {false, true}) {
    tests::Server server;
    ask_for_many(server, 40);
    dashgate::CancellationSource source;
    std::atomic<int> runs{0};
    const auto cancel = [&](const std::string&) {
      ++runs;
      source.cancel();
      return std::string("ran");
    };
    const Client client(server.options());
    dashgate::Conversation conversation = tests::question();
    dashgate::ToolOptions options;
    options.parallel = parallel;
    options.cancellation = source.token();
    const auto run = [&] { client.run_tools(conversation, {{"f", "", "", cancel}}, options); };
    EXPECT_EQ(failure_of(run).code(), grpc::StatusCode::CANCELLED);
    EXPECT_LE(runs, parallel ? 16 : 1);
    ASSERT_EQ(conversation.raw().messages_size(), 42);
    EXPECT_EQ(conversation.raw().messages(41).content(0).text(),
              R"({"error":"the function was not run"})");
  }
}

TEST(Tools, AnythingThatAFunctionThrowsLeavesNoCallWithoutAResult) {
  for (const bool parallel : {false, true}) {
    tests::Server server;
    ask_for_two(server);
    const Client client(server.options());
    dashgate::Conversation conversation = tests::question();
    dashgate::ToolOptions options;
    options.parallel = parallel;
    const auto fail = [](auto&&) -> std::string { throw 7; };
    const auto answer = [](auto&&) { return std::string("two"); };
    EXPECT_THROW(
        client.run_tools(conversation, {{"f", "", "", fail}, {"g", "", "", answer}}, options), int);
    ASSERT_EQ(conversation.raw().messages_size(), 4);
    EXPECT_EQ(conversation.raw().messages(3).content(0).text(),
              parallel ? "two" : R"({"error":"the function was not run"})");
  }
}

// Streams a call of a function, then an answer.
void stream_two_rounds(tests::Server& server) {
  server.stream = [](int number, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    context.AddInitialMetadata("x-round", std::to_string(number));
    writer.Write(tests::started());
    if (number == 1) {
      writer.Write(tests::text_delta("Wait. "));
      v1::ConverseStreamResponse event;
      event.mutable_delta()->mutable_tool_call()->set_id("c");
      event.mutable_delta()->mutable_tool_call()->set_name("f");
      writer.Write(event);
    } else {
      writer.Write(tests::text_delta("done"));
    }
    writer.Write(tests::completed());
    return grpc::Status::OK;
  };
}

TEST(ToolStream, HasTheEventsOfAllRounds) {
  tests::Server server;
  stream_two_rounds(server);
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  dashgate::ToolOptions options;
  options.request_id = "mine";
  dashgate::ToolStream stream = client.stream_tools(
      conversation, {{"f", "", "", [](auto&&) { return std::string("ran"); }}}, options);
  std::vector<std::string> kinds;
  for (const auto& event : stream) {
    kinds.push_back(event.has_delta() ? "delta" : event.has_started() ? "started" : "completed");
  }
  EXPECT_EQ(kinds, (std::vector<std::string>{"started", "delta", "delta", "completed", "started",
                                             "delta", "completed"}));
  EXPECT_EQ(stream.final_answer().text(), "done");
  EXPECT_EQ(stream.partial()->text(), "done");
  EXPECT_EQ(conversation.raw().messages_size(), 4);
  EXPECT_EQ(conversation.raw().messages(2).content(0).text(), "ran");
  EXPECT_EQ(server.seen().at(1).request_id, "mine-2");
}

TEST(ToolStream, HasTheTextsHeadersAndPartialOfAStream) {
  tests::Server server;
  stream_two_rounds(server);
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  const std::vector<dashgate::Tool> tools{{"f", "", "", [](auto&&) { return std::string("ran"); }}};
  std::vector<std::string> texts;
  // Of a temporary stream, which the text deltas keep alive.
  for (const std::string& text : client.stream_tools(conversation, tools).text_deltas()) {
    texts.push_back(text);
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"Wait. ", "done"}));
  EXPECT_EQ(conversation.raw().messages_size(), 4);

  tests::Server second;
  stream_two_rounds(second);
  const Client other(second.options());
  dashgate::ToolStream stream = other.stream_tools(conversation, tools);
  EXPECT_TRUE(stream.headers().empty());
  EXPECT_FALSE(stream.partial());
  EXPECT_EQ(stream.text_deltas().next(), "Wait. ");
  EXPECT_EQ(stream.headers().find("x-round")->second, "1");
  EXPECT_EQ(stream.partial()->text(), "Wait. ");
  EXPECT_EQ(stream.text_deltas().next(), "done");
  EXPECT_EQ(stream.headers().find("x-round")->second, "2");
  EXPECT_EQ(stream.final_answer().text(), "done");
}

TEST(ToolStream, ThatIsLeftKeepsAConversationThatCanBeContinued) {
  tests::Server server;
  stream_two_rounds(server);
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  {
    dashgate::ToolStream stream = client.stream_tools(
        conversation, {{"f", "", "", [](auto&&) { return std::string("ran"); }}});
    while (!stream.next()->has_completed()) {
    }
  }
  // The answer was not taken, and no call is without a result.
  EXPECT_EQ(conversation.raw().messages_size(), 1);
}

TEST(ToolStream, AnErrorOfTheFunctionReachesTheReader) {
  tests::Server server;
  stream_two_rounds(server);
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  const auto fail = [](const std::string&) -> std::string { throw std::out_of_range("no"); };
  dashgate::ToolStream stream = client.stream_tools(conversation, {{"f", "", "", fail}});
  EXPECT_THROW(stream.final_answer(), std::out_of_range);
  EXPECT_THROW(stream.next(), std::out_of_range);
  EXPECT_EQ(conversation.raw().messages_size(), 3);
}

TEST(ToolStream, IsCancelledInWhateverRound) {
  tests::Server server;
  stream_two_rounds(server);
  const Client client(server.options());
  dashgate::Conversation conversation = tests::question();
  dashgate::ToolStream* running = nullptr;
  dashgate::ToolStream stream = client.stream_tools(conversation, {{"f", "", "", [&](auto&&) {
                                                                      running->cancel();
                                                                      return std::string("ran");
                                                                    }}});
  running = &stream;
  EXPECT_EQ(failure_of([&] { stream.final_answer(); }).code(), grpc::StatusCode::CANCELLED);
}

TEST(TypedTool, TakesAMessageWhoseSchemaTheModelGets) {
  std::string model;
  const dashgate::Tool tool = dashgate::make_tool<v1::MediaDescription>(
      "describe", "describes", [&](const v1::MediaDescription& given) {
        model = given.model();
        return std::to_string(given.size_bytes());
      });
  EXPECT_EQ(tool.parameters,
            R"({"type":"object","properties":{"model":{"type":"string"},)"
            R"("mimeType":{"type":"string"},"name":{"type":"string"},)"
            R"("sizeBytes":{"type":"integer"}},"required":["model","mimeType","name"],)"
            R"("additionalProperties":false})");
  EXPECT_EQ(tool.function(R"({"model":"m","mimeType":"t","name":"n","sizeBytes":7})"), "7");
  EXPECT_EQ(model, "m");
  // The model gets the error, and may correct its call.
  EXPECT_EQ(tool.function(R"({"model":"m","mimeType":"t"})"),
            R"({"error":"invalid arguments: dashgate: the value has no name"})");
}

}  // namespace
