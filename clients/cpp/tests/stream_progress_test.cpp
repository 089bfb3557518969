#include "stream_progress.h"

#include <gtest/gtest.h>

#include "live_progress.h"

namespace {

namespace v1 = dashgate::v1;
using dashgate::Error;
using dashgate::detail::kResumeAttempts;
using dashgate::detail::StreamProgress;
using grpc::StatusCode;
using Received = StreamProgress::Received;

std::optional<Error> failure(StatusCode code, const std::string& raw_reason = {},
                             const std::string& message = {}) {
  Error::Fields fields;
  fields.code = code;
  fields.raw_reason = raw_reason;
  fields.message = message;
  return Error(std::move(fields));
}

v1::ConverseStreamResponse started(bool is_resumable) {
  v1::ConverseStreamResponse event;
  event.set_sequence(1);
  event.mutable_started()->set_resumable(is_resumable);
  return event;
}

v1::ConverseStreamResponse delta(int sequence) {
  v1::ConverseStreamResponse event;
  event.set_sequence(sequence);
  event.mutable_delta()->set_text("a");
  return event;
}

v1::ConverseStreamResponse completed(int sequence) {
  v1::ConverseStreamResponse event;
  event.set_sequence(sequence);
  event.mutable_completed();
  return event;
}

struct StreamProgressTest : testing::Test {
  StreamProgressTest() {
    progress.receive(started(true));
    progress.receive(delta(2));
  }

  void lose() {
    auto lost = failure(StatusCode::UNAVAILABLE, {}, "first");
    ASSERT_TRUE(progress.resume_after(lost));
  }

  StreamProgress progress{true, false};
};

bool is_resumed(StreamProgress& progress, std::optional<Error> failed) {
  return progress.resume_after(failed).has_value();
}

TEST_F(StreamProgressTest, ReportsTheFirstErrorAfterTheLastAttempt) {
  lose();
  for (int attempt = 1; attempt < kResumeAttempts; ++attempt) {
    EXPECT_TRUE(is_resumed(progress, failure(StatusCode::UNAVAILABLE, {}, "later")));
  }
  auto last = failure(StatusCode::UNAVAILABLE, {}, "last");
  EXPECT_FALSE(progress.resume_after(last));
  EXPECT_EQ(last->message(), "first");
  EXPECT_EQ(progress.resumes(), kResumeAttempts);
}

TEST_F(StreamProgressTest, ResumesLostConnectionsOnly) {
  const auto resumes = [](const std::optional<Error>& failed) {
    StreamProgress begun(true, false);
    begun.receive(started(true));
    return is_resumed(begun, failed);
  };
  EXPECT_TRUE(resumes(failure(StatusCode::INTERNAL)));
  EXPECT_TRUE(resumes(failure(StatusCode::UNKNOWN)));
  EXPECT_TRUE(resumes(failure(StatusCode::UNAVAILABLE, "SHUTTING_DOWN")));
  EXPECT_TRUE(resumes(failure(StatusCode::UNAVAILABLE, "STORE_DOWN")));
  EXPECT_FALSE(resumes(failure(StatusCode::INTERNAL, "OWNER_LOST")));
  EXPECT_FALSE(resumes(failure(StatusCode::CANCELLED)));
  StreamProgress older(true, false);
  older.receive(started(false));
  EXPECT_FALSE(is_resumed(older, failure(StatusCode::UNAVAILABLE)));
  StreamProgress unwanted(false, false);
  unwanted.receive(started(true));
  EXPECT_FALSE(is_resumed(unwanted, failure(StatusCode::UNAVAILABLE)));
}

TEST_F(StreamProgressTest, ReportsTheFirstErrorIfTheCallIsGone) {
  lose();
  auto gone = failure(StatusCode::OUT_OF_RANGE, "RESUME_GAP");
  EXPECT_FALSE(progress.resume_after(gone));
  EXPECT_EQ(gone->message(), "first");
  auto cancelled = failure(StatusCode::ABORTED, "CALL_CANCELLED");
  EXPECT_FALSE(progress.resume_after(cancelled));
  EXPECT_EQ(cancelled->raw_reason(), "CALL_CANCELLED");
}

TEST_F(StreamProgressTest, ReportsEachEventOnce) {
  lose();
  EXPECT_EQ(progress.receive(delta(2)), Received::kKnown);
  EXPECT_EQ(progress.receive(delta(3)), Received::kNew);
  EXPECT_EQ(progress.receive(delta(5)), Received::kMissing);
  EXPECT_EQ(progress.broken()->message(), "first");
}

TEST_F(StreamProgressTest, IsCompleteIfTheConnectionIsLostAfterTheLastEvent) {
  progress.receive(completed(3));
  auto lost = failure(StatusCode::UNAVAILABLE);
  EXPECT_FALSE(progress.resume_after(lost));
  EXPECT_FALSE(lost);
  EXPECT_FALSE(progress.must_leave(false));
}

TEST_F(StreamProgressTest, LeavesCallsThatWaitForTheirReader) {
  EXPECT_TRUE(progress.must_leave(false));
  EXPECT_TRUE(progress.must_leave(true));
  EXPECT_TRUE(StreamProgress(true, true).must_leave(false));
  EXPECT_FALSE(StreamProgress(true, true).must_leave(true));
  EXPECT_FALSE(StreamProgress(false, false).must_leave(false));
  StreamProgress older(true, false);
  older.receive(started(false));
  EXPECT_FALSE(older.must_leave(false));
}

}  // namespace
