#include "live_progress.h"

#include <gtest/gtest.h>

#include "live_server.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Error;
using dashgate::detail::kResumeAttempts;
using dashgate::detail::LiveProgress;
using grpc::StatusCode;
using std::chrono::milliseconds;

Error failure(StatusCode code, const std::string& raw_reason = {}) {
  Error::Fields fields;
  fields.code = code;
  fields.raw_reason = raw_reason;
  return Error(std::move(fields));
}

bool is_resumed(LiveProgress& progress, Error error) {
  return progress.resume_after(error).has_value();
}

struct LiveProgressTest : testing::Test {
  LiveProgressTest() { progress.receive(tests::session_started(1)); }

  LiveProgress progress{"request-1", {}};
};

TEST_F(LiveProgressTest, ContinuesAfterTheLastEventReceived) {
  EXPECT_FALSE(LiveProgress("request-1", {}).next_stream());
  EXPECT_TRUE(progress.receive(tests::response_delta(2, "a")));
  const auto resumption = progress.next_stream();
  ASSERT_TRUE(resumption);
  EXPECT_EQ(resumption->session_id(), "session-1");
  EXPECT_EQ(resumption->token(), "token-1");
  EXPECT_EQ(resumption->last_sequence(), 2);
  EXPECT_EQ(LiveProgress("request-2", *resumption).next_stream()->last_sequence(), 2);
}

TEST_F(LiveProgressTest, GivesThePositionOfTheLastEventRead) {
  progress.receive(tests::response_delta(2, "a"));
  EXPECT_FALSE(progress.resumption());
  EXPECT_EQ(progress.session_id(), "");
  progress.read(tests::session_started(1));
  EXPECT_EQ(progress.resumption()->last_sequence(), 1);
  EXPECT_EQ(progress.session_id(), "session-1");
}

TEST_F(LiveProgressTest, ReportsARepeatedEventOnce) {
  EXPECT_TRUE(progress.receive(tests::response_delta(2, "a")));
  EXPECT_TRUE(progress.receive(tests::session_started(2, true)));
  EXPECT_FALSE(progress.receive(tests::response_delta(2, "a")));
  EXPECT_TRUE(progress.receive(tests::response_delta(3, "b")));
  // Events without a number have no position.
  EXPECT_TRUE(progress.receive(tests::response_delta(0, "c")));
  EXPECT_EQ(progress.next_stream()->last_sequence(), 3);
}

TEST_F(LiveProgressTest, ResumesAfterLostConnectionsAndShutdown) {
  EXPECT_TRUE(is_resumed(progress, failure(StatusCode::UNAVAILABLE)));
  EXPECT_TRUE(is_resumed(progress, failure(StatusCode::INTERNAL)));
  EXPECT_TRUE(is_resumed(progress, failure(StatusCode::UNKNOWN)));
  EXPECT_TRUE(is_resumed(progress, failure(StatusCode::UNAVAILABLE, "SHUTTING_DOWN")));
}

TEST_F(LiveProgressTest, DoesNotResumeAfterOtherErrors) {
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::INTERNAL, "INTERNAL_ERROR")));
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::UNKNOWN, "UPSTREAM_ERROR")));
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::ABORTED, "SESSION_TAKEN_OVER")));
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::NOT_FOUND)));
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::DEADLINE_EXCEEDED)));
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::CANCELLED)));
  EXPECT_EQ(progress.resumes(), 0);
}

TEST_F(LiveProgressTest, DoesNotResumeBeforeTheStartAndAfterTheEnd) {
  LiveProgress fresh("request-1", {});
  EXPECT_FALSE(is_resumed(fresh, failure(StatusCode::UNAVAILABLE)));
  progress.receive(tests::session_ended(2));
  EXPECT_FALSE(is_resumed(progress, failure(StatusCode::UNAVAILABLE)));
}

TEST_F(LiveProgressTest, ReportsTheFirstErrorAfterTheLastAttempt) {
  progress.receive(tests::response_delta(2, "a"));
  Error::Fields first;
  first.code = StatusCode::UNAVAILABLE;
  first.message = "first";
  EXPECT_TRUE(is_resumed(progress, Error(first)));
  for (int attempt = 1; attempt < kResumeAttempts; ++attempt) {
    EXPECT_TRUE(is_resumed(progress, failure(StatusCode::UNAVAILABLE)));
  }
  Error last = failure(StatusCode::UNAVAILABLE);
  EXPECT_FALSE(progress.resume_after(last));
  EXPECT_EQ(last.message(), "first");
  EXPECT_TRUE(last.output_started());
  EXPECT_EQ(progress.resumes(), kResumeAttempts);
}

TEST_F(LiveProgressTest, CountsAttemptsFromTheLastEvent) {
  for (int number = 2; number < 12; ++number) {
    Error error = failure(StatusCode::UNAVAILABLE);
    EXPECT_LE(progress.resume_after(error), milliseconds(125));
    progress.receive(tests::session_started(number - 1, true));
    progress.receive(tests::response_delta(number, "a"));
  }
  EXPECT_EQ(progress.resumes(), 10);
}

TEST_F(LiveProgressTest, DoublesTheDelayOfEachAttempt) {
  for (int attempt = 0; attempt < kResumeAttempts; ++attempt) {
    const milliseconds usual(100 << attempt);
    Error error = failure(StatusCode::UNAVAILABLE);
    const auto delay = progress.resume_after(error);
    EXPECT_GE(delay, usual * 3 / 4);
    EXPECT_LE(delay, usual * 5 / 4);
  }
}

TEST_F(LiveProgressTest, WaitsAsLongAsTheGatewayAsksUpToALimit) {
  for (const auto& [asked, given] : {std::pair(2500, 2500), std::pair(60'000, 5000)}) {
    Error::Fields fields;
    fields.code = StatusCode::UNAVAILABLE;
    fields.retry_after = milliseconds(asked);
    Error error(fields);
    EXPECT_EQ(progress.resume_after(error), milliseconds(given));
  }
}

TEST_F(LiveProgressTest, KeepsTheUsageOfTheStreamThatBroke) {
  Error::Fields first;
  first.code = StatusCode::UNAVAILABLE;
  first.usage.emplace().set_output_tokens(7);
  EXPECT_TRUE(is_resumed(progress, Error(first)));
  Error last = failure(StatusCode::NOT_FOUND);
  EXPECT_FALSE(progress.resume_after(last));
  EXPECT_EQ(last.code(), StatusCode::NOT_FOUND);
  ASSERT_TRUE(last.usage());
  EXPECT_EQ(last.usage()->output_tokens(), 7);
  EXPECT_FALSE(last.output_started());
}

TEST_F(LiveProgressTest, OkWithoutTheLastEventIsAnError) {
  const auto error = progress.complete();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason(), v1::STREAM_TRUNCATED);
  EXPECT_EQ(error->request_id(), "request-1");
  progress.receive(tests::session_ended(2));
  EXPECT_FALSE(progress.complete());
  EXPECT_FALSE(progress.ended());
  progress.read(tests::session_ended(2));
  EXPECT_EQ(progress.ended()->responses(), 1);
}

}  // namespace
