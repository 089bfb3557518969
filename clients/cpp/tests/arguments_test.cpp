// Invalid arguments, defaults from the environment, and secrets that errors must not contain.
#include <gtest/gtest.h>

#include "call.h"
#include "channel.h"
#include "server.h"
#include "variable.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::detail::read_target;
using tests::Variable;

constexpr const char* kKey = "dg-secret-0123456789";

std::string refusal_of(const std::function<void()>& what) {
  try {
    what();
  } catch (const std::invalid_argument& refused) {
    return refused.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

void answer_with_a_model(tests::Server& server) {
  server.converse = [](int, grpc::ServerContext&, const v1::ConverseRequest&,
                       v1::ConverseResponse& response) {
    response.set_model("answered");
    return grpc::Status::OK;
  };
}

std::string value_of(const tests::Seen& seen, const std::string& name) {
  std::string values;
  const auto [first, last] = seen.metadata.equal_range(name);
  for (auto entry = first; entry != last; ++entry) values += entry->second + ";";
  return values;
}

TEST(Target, IsReadInItsForms) {
  EXPECT_EQ(read_target("h:1", std::nullopt).address, "h:1");
  EXPECT_FALSE(read_target("h:1", std::nullopt).tls);
  EXPECT_EQ(read_target("HTTP://h:1/", std::nullopt).address, "h:1");
  EXPECT_EQ(read_target("http://h", std::nullopt).address, "h:50051");
  EXPECT_EQ(read_target("http://[::1]", std::nullopt).address, "[::1]:50051");
  EXPECT_EQ(read_target("https://[::1]:7", std::nullopt).address, "[::1]:7");
  EXPECT_EQ(read_target("https://h", std::nullopt).address, "h:443");
  EXPECT_TRUE(read_target("https://h", std::nullopt).tls);
  EXPECT_TRUE(read_target("h:1", dashgate::TlsOptions()).tls);
  EXPECT_EQ(read_target("unix:/a/b", std::nullopt).address, "unix:/a/b");
  EXPECT_EQ(read_target("dns:///h:1", std::nullopt).address, "dns:///h:1");
  EXPECT_EQ(read_target("dns:h:1", std::nullopt).address, "dns:///h:1");
  EXPECT_EQ(read_target("ipv4:10.0.0.1:1", std::nullopt).address, "10.0.0.1:1");
  EXPECT_EQ(read_target("ipv6:[::1]:1", std::nullopt).address, "[::1]:1");
  EXPECT_EQ(read_target("dns:///h", std::nullopt).address, "dns:///h:50051");
  EXPECT_EQ(read_target("h", std::nullopt).address, "h:50051");
  EXPECT_EQ(read_target("[::1]", std::nullopt).address, "[::1]:50051");
  EXPECT_EQ(read_target("ipv4:10.0.0.1", std::nullopt).address, "10.0.0.1:50051");
  for (const char* wrong :
       {"dns:///", "dns:///h:", "dns://server/h:1", "xds:///h:1", "h:", "::1", "h/path", "h:1,g:1",
        "ipv4:10.0.0.1:1,10.0.0.2:1", "h:x", "h:-1", "h:99999", "h:1 ", " h:1", "h:1\n",
        "unix:", "unix://h", "vsock:1:2", "unix-abstract:x"}) {
    EXPECT_THROW(read_target(wrong, std::nullopt), std::invalid_argument) << wrong;
  }
}

TEST(Target, LoopbackIsKnown) {
  for (const char* here :
       {"127.0.0.1:1", "http://LOCALHOST:1", "[::1]:1", "unix:/a/b", "dns:///a.localhost:1"}) {
    EXPECT_TRUE(read_target(here, std::nullopt).is_loopback()) << here;
  }
  for (const char* away : {"gate.example:1", "127.0.0.1.example:1", "10.0.0.1:1", "[::2]:1"}) {
    EXPECT_FALSE(read_target(away, std::nullopt).is_loopback()) << away;
  }
}

TEST(Target, ContradictionsAreRefused) {
  refusal_of([] { read_target("http://h:1", dashgate::TlsOptions()); });
  refusal_of([] { read_target("http://", std::nullopt); });
  refusal_of([] { read_target("https://h/v1", std::nullopt); });
  refusal_of([] { read_target("https://[::1", std::nullopt); });
  for (const char* target : {"https://me:pass@h", "h://me:pass@h", "http://me:pass@h/v1",
                             "me:pass@h", "me:pass@h,g", "dns:///me:pass@h"}) {
    const auto refusal = refusal_of([&] { read_target(target, std::nullopt); });
    EXPECT_EQ(refusal.find("pass@"), std::string::npos) << refusal;
  }
  dashgate::TlsOptions half;
  half.client_key = "-----BEGIN PRIVATE KEY-----";
  refusal_of([&] { read_target("h:1", half); });
  half.client_key = "ca.pem";
  EXPECT_NE(refusal_of([&] { read_target("h:1", half); }).find("tls.client_key"),
            std::string::npos);
}

TEST(Client, TakesAddressAndKeyFromTheEnvironment) {
  tests::Server server;
  answer_with_a_model(server);
  const Variable address("DASHGATE_ADDR", server.address());
  const Variable key("DASHGATE_API_KEY", kKey);
  EXPECT_EQ(dashgate::Client().converse(tests::question()).model(), "answered");
  EXPECT_EQ(value_of(server.seen().at(0), "authorization"), std::string("Bearer ") + kKey + ";");

  dashgate::ClientOptions options;
  options.api_key = "another";
  dashgate::Client(options).converse(tests::question());
  EXPECT_EQ(value_of(server.seen().at(1), "authorization"), "Bearer another;");
  options.api_key = "";
  dashgate::Client(options).converse(tests::question());
  EXPECT_EQ(value_of(server.seen().at(2), "authorization"), "");
  options.api_key.reset();
  options.metadata = {{"authorization", "Basic eDp5"}};
  dashgate::Client(options).converse(tests::question());
  EXPECT_EQ(value_of(server.seen().at(3), "authorization"), "Basic eDp5;");
}

TEST(Client, SendsMetadataAndItsName) {
  tests::Server server;
  answer_with_a_model(server);
  dashgate::ClientOptions options = server.options();
  options.metadata = {{"x-of-client", "1"}, {"x-of-both", "client"}};
  const dashgate::Client client(options);
  dashgate::CallOptions call;
  call.metadata = {{"x-of-call", "2"}, {"x-of-both", "call"}};
  client.converse(tests::question(), call);
  const tests::Seen seen = server.seen().at(0);
  EXPECT_EQ(value_of(seen, "x-of-client"), "1;");
  EXPECT_EQ(value_of(seen, "x-of-call"), "2;");
  EXPECT_EQ(value_of(seen, "x-of-both"), "call;");
  EXPECT_EQ(value_of(seen, "user-agent").find("dashgate-cpp/" + std::string(dashgate::version())),
            0U);
}

TEST(Client, WhatCannotBeSentIsRefusedWithoutBeingShown) {
  dashgate::ClientOptions options;
  options.api_key = std::string(kKey) + "\n";
  EXPECT_EQ(refusal_of([&] { dashgate::Client client(options); }).find(kKey), std::string::npos);

  options.api_key = "";
  options.metadata = {{"X-Large", "1"}};
  refusal_of([&] { dashgate::Client client(options); });
  options.metadata = {{"x-bytes", "\x01"}};
  refusal_of([&] { dashgate::Client client(options); });
  options.metadata = {{"x-bytes-bin", "\x01"}};
  dashgate::Client client(options);
  dashgate::CallOptions call;
  call.metadata = {{"", "1"}};
  refusal_of([&] { client.converse(tests::question(), call); });
  options.max_retries = -1;
  refusal_of([&] { dashgate::Client refused(options); });
  options.max_retries = 0;
  call.metadata.clear();
  call.max_retries = -1;
  refusal_of([&] { client.converse(tests::question(), call); });
  options.idle_timeout = std::chrono::milliseconds(0);
  refusal_of([&] { dashgate::Client refused(options); });
}

TEST(Client, NoErrorShowsTheKey) {
  tests::Server server;
  server.converse = [](int, grpc::ServerContext&, const v1::ConverseRequest&,
                       v1::ConverseResponse&) {
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "not accepted");
  };
  dashgate::ClientOptions options = server.options();
  options.api_key = kKey;
  try {
    dashgate::Client(options).converse(tests::question());
    FAIL() << "nothing was thrown";
  } catch (const dashgate::Error& error) {
    EXPECT_EQ(std::string(error.what()).find(kKey), std::string::npos);
    EXPECT_EQ(error.status().error_message().find(kKey), std::string::npos);
  }
}

void expect_no_utf8(const dashgate::Conversation& conversation, const std::string& path) {
  const dashgate::Client client;
  for (const dashgate::Error& error : {tests::failure_of([&] { client.converse(conversation); }),
                                       tests::failure_of([&] { client.stream(conversation); })}) {
    EXPECT_EQ(error.code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(error.message(), path + ": the text is not UTF-8");
    ASSERT_EQ(error.field_violations().size(), 1U);
    EXPECT_EQ(error.field_violations()[0].field, path);
    EXPECT_FALSE(error.request_id().empty());
  }
}

TEST(Text, ThatIsNotUtf8IsInvalid) {
  const std::string broken = "gr\xfc\xdf dich";
  dashgate::Conversation conversation = tests::question("gr\u00fc\u00df dich");
  conversation.user(dashgate::audio(dashgate::Source::bytes("RIFF\xff")), broken);
  expect_no_utf8(conversation, "conversation.messages[1].content[1].text");
  conversation = tests::question();
  (*conversation.raw().mutable_labels())[broken] = "value";
  expect_no_utf8(conversation, "conversation.labels");
  conversation = tests::question();
  conversation.declare_tool("f", broken, "{}");
  expect_no_utf8(conversation, "conversation.tools[0].function.description");
}

TEST(RequestId, IsAUuidOfItsOwn) {
  const std::string one = dashgate::detail::make_uuid();
  EXPECT_EQ(one.size(), 36U);
  EXPECT_EQ(one.at(14), '4');
  EXPECT_NE(std::string("89ab").find(one.at(19)), std::string::npos);
  EXPECT_NE(one, dashgate::detail::make_uuid());
}

}  // namespace
