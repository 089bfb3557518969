// Calls beyond what the connections take.
#include "connection_pool.h"

#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "server.h"
#include "stream_state.h"

namespace {

namespace v1 = dashgate::v1;
namespace detail = dashgate::detail;
using detail::ConnectionLease;
using detail::ConnectionPool;
using std::chrono::milliseconds;
using tests::failure_of;

detail::Deadline after(milliseconds span) { return std::chrono::system_clock::now() + span; }

const milliseconds kSoon(50);

// Channels to a gateway, with small limits.
class Pool : public testing::Test {
 protected:
  std::shared_ptr<grpc::ChannelInterface> channel() {
    ++opened_;
    return grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials());
  }
  std::shared_ptr<ConnectionPool> make(detail::PoolLimits limits) {
    return std::make_shared<ConnectionPool>(channel(), [this] { return channel(); }, log_, limits);
  }

  tests::Server server_;
  std::shared_ptr<const detail::Log> log_ =
      std::make_shared<const detail::Log>(detail::LogLevel::kOff, "here");
  int opened_ = 0;
};

TEST_F(Pool, OpensConnectionsAndThenCallsWaitInOrder) {
  const auto pool = make({2, 2});
  std::vector<std::unique_ptr<ConnectionLease>> leases;
  for (int number = 0; number < 7; ++number) {
    leases.push_back(std::make_unique<ConnectionLease>(pool));
    EXPECT_EQ(leases.back()->is_ready(), number < 4) << number;
  }
  EXPECT_EQ(opened_, 2);
  EXPECT_NE(&leases[0]->connection(), &leases[2]->connection());
  EXPECT_FALSE(leases[4]->wait(after(milliseconds(1))));
  leases[5].reset();  // one that waits leaves
  leases[1]->release();
  EXPECT_TRUE(leases[4]->wait({}));
  EXPECT_EQ(&leases[4]->connection(), &leases[0]->connection());
  EXPECT_FALSE(leases[6]->is_ready());
  EXPECT_FALSE(ConnectionLease(pool).is_ready());
  leases[4].reset();
  EXPECT_TRUE(leases[6]->is_ready());
  leases.clear();
  // Nothing is lost.
  for (int number = 0; number < 4; ++number) {
    leases.push_back(std::make_unique<ConnectionLease>(pool));
    EXPECT_TRUE(leases.back()->is_ready());
  }
  EXPECT_FALSE(ConnectionLease(pool).is_ready());
  EXPECT_EQ(opened_, 2);
}

TEST_F(Pool, HasAConnectionForCancellationsWhenAllAreFull) {
  const auto pool = make({2, 1});
  using detail::LeaseKind;
  const ConnectionLease first(pool);
  const auto in_first = std::make_unique<ConnectionLease>(pool, LeaseKind::kCancellation);
  EXPECT_EQ(&in_first->connection(), &first.connection());
  ConnectionLease waiting(pool);
  auto spare = std::make_unique<ConnectionLease>(pool, LeaseKind::kCancellation);
  EXPECT_NE(&spare->connection(), &first.connection());
  const ConnectionLease also_spare(pool, LeaseKind::kCancellation);
  EXPECT_EQ(&also_spare.connection(), &spare->connection());
  EXPECT_EQ(opened_, 2);
  // It is not for other calls.
  spare.reset();
  EXPECT_FALSE(waiting.is_ready());
  in_first->release();
  EXPECT_TRUE(waiting.is_ready());
  EXPECT_EQ(&waiting.connection(), &first.connection());
  pool->close();
  EXPECT_EQ(&ConnectionLease(pool, LeaseKind::kCancellation).connection(),
            &also_spare.connection());
  EXPECT_EQ(opened_, 2);
}

TEST_F(Pool, OfAChannelThatWasPassedTakesAllCalls) {
  const auto pool =
      std::make_shared<ConnectionPool>(channel(), nullptr, log_, detail::PoolLimits{1, 1});
  const ConnectionLease one(pool);
  EXPECT_TRUE(ConnectionLease(pool).is_ready());
}

TEST_F(Pool, AWaitingCallEndsAsItsCallWould) {
  const auto pool = make({1, 1});
  const ConnectionLease only(pool);
  const auto late = failure_of([&] { detail::acquire(pool, after(milliseconds(20)), {}, "r-1"); });
  EXPECT_EQ(late.code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(late.reason(), v1::DEADLINE_EXCEEDED);
  EXPECT_EQ(late.request_id(), "r-1");
  dashgate::CancellationSource source;
  const auto wait = [&](const dashgate::CancellationToken& token) {
    return failure_of([&] { detail::acquire(pool, {}, token, "r"); }).code();
  };
  auto cancelled = std::async(std::launch::async, wait, source.token());
  EXPECT_EQ(cancelled.wait_for(kSoon), std::future_status::timeout);
  source.cancel();
  EXPECT_EQ(cancelled.get(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(wait(source.token()), grpc::StatusCode::CANCELLED);
  auto closed = std::async(std::launch::async, wait, dashgate::CancellationToken());
  EXPECT_EQ(closed.wait_for(kSoon), std::future_status::timeout);
  pool->close();
  EXPECT_EQ(closed.get(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(wait({}), grpc::StatusCode::CANCELLED);
}

TEST_F(Pool, ManyThreadsShareFewConnections) {
  const auto pool = make({1, 2});
  std::atomic<int> running{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 8; ++number) {
    threads.emplace_back([&] {
      for (int call = 0; call < 50; ++call) {
        const auto lease = detail::acquire(pool, {}, {}, "r");
        EXPECT_LE(++running, 2);
        --running;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Streams of a pool with one connection, which takes one call.
class WaitingStream : public Pool {
 protected:
  WaitingStream() {
    server_.stream = [this](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
      writer.Write(tests::started());
      if (is_silent_.exchange(false)) tests::Server::wait_for_cancel(context);
      writer.Write(tests::completed());
      return grpc::Status::OK;
    };
  }

  std::unique_ptr<detail::StreamState> open(const detail::Deadline& deadline = {},
                                            const dashgate::CancellationToken& token = {}) {
    detail::StreamSetup setup;
    setup.request.set_request_id("r");
    setup.request.set_resumable(true);
    setup.deadline = deadline;
    setup.cancellation = token;
    return std::make_unique<detail::StreamState>(
        detail::StreamClient{pool_, canceller_, log_, {}, idle_timeout_}, std::move(setup));
  }

  milliseconds idle_timeout_{100};
  std::shared_ptr<ConnectionPool> pool_ = make({1, 1});
  std::shared_ptr<detail::CallCanceller> canceller_ =
      std::make_shared<detail::CallCanceller>(pool_);
  std::atomic<bool> is_silent_{false};
};

TEST_F(WaitingStream, IsNotIdleAndBeginsWhenAnotherEnds) {
  auto first = open();
  auto second = open();
  auto answer = std::async(std::launch::async, [&] { return second->finish().model(); });
  EXPECT_EQ(answer.wait_for(2 * idle_timeout_), std::future_status::timeout);
  EXPECT_EQ(server_.seen().size(), 1U);
  EXPECT_EQ(first->finish().model(), "m");
  EXPECT_EQ(answer.get(), "m");
  // Those that have ended take no place, even while they exist.
  EXPECT_EQ(open()->finish().model(), "m");
}

TEST_F(WaitingStream, EndsAtItsDeadline) {
  auto first = open();
  auto second = open(after(milliseconds(20)));
  for (int time = 0; time < 2; ++time) {
    const auto late = failure_of([&] { second->next(); });
    EXPECT_EQ(late.code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    EXPECT_EQ(late.raw_reason(), "DEADLINE_EXCEEDED");
  }
  EXPECT_FALSE(second->partial());
  EXPECT_EQ(server_.seen().size(), 1U);
  EXPECT_EQ(first->finish().model(), "m");
}

TEST_F(WaitingStream, IsCancelledBeforeAndWhileItWaits) {
  auto first = open();
  dashgate::CancellationSource source;
  auto second = open({}, source.token());
  auto waiting =
      std::async(std::launch::async, [&] { return failure_of([&] { second->finish(); }).code(); });
  EXPECT_EQ(waiting.wait_for(kSoon), std::future_status::timeout);
  source.cancel();
  EXPECT_EQ(waiting.get(), grpc::StatusCode::CANCELLED);
  auto third = open();
  third->cancel();
  EXPECT_EQ(failure_of([&] { third->next(); }).code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(first->finish().model(), "m");
  EXPECT_EQ(server_.seen().size(), 1U);
  EXPECT_TRUE(server_.cancelled_ids().empty());
}

TEST_F(WaitingStream, ThatIsDroppedLeavesTheOrder) {
  auto first = open();
  auto second = open();
  auto third = open();
  second.reset();
  first.reset();
  EXPECT_EQ(third->finish().model(), "m");
}

TEST_F(WaitingStream, BeginsWhenAnotherIsCancelledAndStillExists) {
  is_silent_ = true;
  auto first = open();
  EXPECT_NE(first->next(), nullptr);
  auto second = open();
  first->cancel();
  EXPECT_EQ(second->finish().model(), "m");
}

TEST_F(WaitingStream, DoesNotDelayTheCancellationOfTheOneThatIsLeft) {
  server_.stream = [](int, grpc::ServerContext& context, auto&&, tests::EventWriter& writer) {
    auto event = tests::started();
    event.mutable_started()->set_resumable(true);
    writer.Write(event);
    tests::Server::wait_for_cancel(context);
    return grpc::Status::OK;
  };
  auto first = open();
  EXPECT_NE(first->next(), nullptr);
  auto second = open();
  first->cancel();
  EXPECT_NE(second->next(), nullptr);
  canceller_->finish();
  EXPECT_EQ(server_.cancelled_ids(), std::vector<std::string>{"r"});
  EXPECT_EQ(opened_, 2);
}

TEST_F(WaitingStream, EndsWithTheClientAndOneThatRunsDoesNot) {
  auto first = open();
  auto second = open();
  auto waiting =
      std::async(std::launch::async, [&] { return failure_of([&] { second->finish(); }).code(); });
  EXPECT_EQ(waiting.wait_for(kSoon), std::future_status::timeout);
  pool_->close();
  EXPECT_EQ(waiting.get(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(first->finish().model(), "m");
}

}  // namespace
