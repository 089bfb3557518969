// Structured output.
#include <dashgate/v1/generation.pb.h>
#include <dashgate/v1/media_service.pb.h>
#include <gtest/gtest.h>

#include "server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Client;
using dashgate::Error;
using tests::failure_of;

constexpr const char* kValid = R"({"model":"m","mimeType":"t","name":"n"})";

// Answers with these texts in order, and notes the requests.
struct Model {
  explicit Model(std::vector<std::string> texts) {
    server.converse = [this, texts = std::move(texts)](int number, grpc::ServerContext&,
                                                       const v1::ConverseRequest& request,
                                                       v1::ConverseResponse& response) {
      asked.push_back(request);
      response.add_choices()->mutable_message()->add_content()->set_text(
          texts.at(static_cast<std::size_t>(number - 1)));
      response.mutable_usage()->set_output_tokens(number);
      return grpc::Status::OK;
    };
  }

  tests::Server server;
  std::vector<v1::ConverseRequest> asked;
};

TEST(Output, IsAMessageWhoseSchemaTheModelGets) {
  Model model({kValid});
  const Client client(model.server.options());
  const dashgate::Conversation conversation = tests::question();
  const auto output = client.converse_as<v1::MediaDescription>(conversation);
  EXPECT_EQ(output.value.name(), "n");
  EXPECT_EQ(output.answer.text(), kValid);
  const v1::JsonSchema& format = model.asked.at(0).options().response_format().json_schema();
  EXPECT_EQ(format.name(), "MediaDescription");
  EXPECT_EQ(format.schema(), dashgate::json_schema(*v1::MediaDescription::descriptor()));
  EXPECT_EQ(conversation.raw().messages_size(), 1);
}

TEST(Output, IsWhatAFunctionMakesOfTheText) {
  Model model({"7"});
  const Client client(model.server.options());
  const auto output = client.converse_as(tests::question(), {"number", R"({"type":"integer"})"},
                                         [](const std::string& text) { return std::stoi(text); });
  EXPECT_EQ(output.value, 7);
}

TEST(Output, ThatIsInvalidHasTheErrorOfTheParserAndTheUsage) {
  Model model({R"({"model":"m"})"});
  const Client client(model.server.options());
  const Error error =
      failure_of([&] { client.converse_as<v1::MediaDescription>(tests::question()); });
  EXPECT_EQ(error.code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(error.raw_reason(), "OUTPUT_INVALID");
  EXPECT_NE(error.message().find("mimeType"), std::string::npos);
  EXPECT_EQ(error.usage()->output_tokens(), 1);
  EXPECT_FALSE(error.retryable());
}

TEST(Output, AnErrorHasNothingOfTheAnswer) {
  const std::vector<std::string> answers{
      "SECRET",
      R"({"model":"m","mimeType":"t","name":"SECRET)",
      R"({"model":"m","mimeType":"t","name":"n","SECRET":1})",
      R"({"model":"m","mimeType":"t","name":["SECRET"]})",
      R"({"model":"m","mimeType":"t","name":"n","sizeBytes":"SECRET"})",
      R"({"SECRET":1,"SECRET":2})",
  };
  Model model(answers);
  const Client client(model.server.options());
  for (std::size_t at = 0; at < answers.size(); ++at) {
    const Error error =
        failure_of([&] { client.converse_as<v1::MediaDescription>(tests::question()); });
    EXPECT_EQ(error.raw_reason(), "OUTPUT_INVALID");
    EXPECT_EQ(std::string(error.what()).find("SECRET"), std::string::npos) << error.what();
  }
}

TEST(Output, IsRepairedOnce) {
  Model model({"never", kValid, "never", "never"});
  const Client client(model.server.options());
  dashgate::OutputOptions options;
  options.repair = true;
  options.request_id = "mine";
  EXPECT_EQ(client.converse_as<v1::MediaDescription>(tests::question(), options).value.model(),
            "m");
  ASSERT_EQ(model.asked.size(), 2U);
  EXPECT_EQ(model.asked[1].conversation().messages_size(), 3);
  EXPECT_EQ(model.asked[1].request_id(), "mine-2");
  const Error error =
      failure_of([&] { client.converse_as<v1::MediaDescription>(tests::question(), options); });
  EXPECT_EQ(error.usage()->output_tokens(), 4);
  EXPECT_EQ(model.asked.size(), 4U);
}

TEST(JsonSchema, KnowsListsMapsEnumsAndOwnTypesOfProtobuf) {
  EXPECT_EQ(dashgate::json_schema(*v1::ToolChoice::descriptor()),
            R"({"type":"object","properties":{"mode":{"type":"string","enum":[)"
            R"("TOOL_CHOICE_MODE_UNSPECIFIED","TOOL_CHOICE_MODE_AUTO","TOOL_CHOICE_MODE_NONE",)"
            R"("TOOL_CHOICE_MODE_REQUIRED"]},"functionName":{"type":"string"}},"required":[],)"
            R"("additionalProperties":false})");
  EXPECT_EQ(dashgate::json_schema(*v1::CacheControl::descriptor()),
            R"({"type":"object","properties":{"type":{"type":"string"}},"required":["type"],)"
            R"("additionalProperties":false})");
  const std::string conversation = dashgate::json_schema(*v1::Conversation::descriptor());
  EXPECT_NE(
      conversation.find(R"("labels":{"type":"object","additionalProperties":{"type":"string"}})"),
      std::string::npos);
  EXPECT_NE(conversation.find(R"("ttl":{"type":"string"})"), std::string::npos);
  EXPECT_NE(conversation.find(R"("extra":{"type":"object"})"), std::string::npos);
  EXPECT_NE(conversation.find(R"("messages":{"type":"array","items":{"type":"object")"),
            std::string::npos);
}

std::string refusal_of_json(const std::string& json) {
  v1::AudioFile file;
  try {
    dashgate::parse_json(json, file);
  } catch (const std::invalid_argument& refused) {
    return refused.what();
  }
  return {};
}

TEST(JsonSchema, IsCheckedBeyondTheParserOfProtobuf) {
  const std::string time = R"("2026-01-01T00:00:00Z")";
  EXPECT_EQ(refusal_of_json(R"({"uri":"u","id":"i","expiresAt":)" + time + R"(,"extra":{}})"), "");
  EXPECT_EQ(refusal_of_json(R"({"uri":"u","id":"i","expires_at":)" + time + R"(,"extra":{}})"), "");
  EXPECT_NE(refusal_of_json(R"({"uri":7})").find("the value.uri is not a text"), std::string::npos);
  EXPECT_NE(refusal_of_json(R"({"uri":"u","id":null})").find("has no id"), std::string::npos);
  EXPECT_NE(refusal_of_json(R"({"uri":"u","id":"i","expiresAt":)" + time + R"(,"extra":[]})")
                .find("the value.extra is not an object"),
            std::string::npos);
  EXPECT_NE(
      refusal_of_json(R"({"uri":"u","id":"i","expiresAt":)" + time + R"(,"extra":{},"more":1})"),
      "");
  EXPECT_NE(refusal_of_json("[]"), "");
  v1::ToolChoice choice;
  EXPECT_THROW(dashgate::parse_json(R"({"mode":"SOON"})", choice), std::invalid_argument);
  v1::FunctionTool function;
  EXPECT_THROW(dashgate::parse_json(R"({"name":"n","more":null})", function),
               std::invalid_argument);
  EXPECT_NE(refusal_of_json("Oslo"), "");
  v1::UploadMediaResponse upload;
  EXPECT_THROW(dashgate::parse_json(R"({"sizeBytes":"12"})", upload), std::invalid_argument);
}

}  // namespace
