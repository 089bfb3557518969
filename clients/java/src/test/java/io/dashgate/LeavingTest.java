package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.MethodDescriptor;
import java.io.IOException;
import java.util.EnumSet;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Streams that are left while other threads, or the owner of the thread, are in the way. */
@Timeout(60)
class LeavingTest {
  private static final Set<Thread.State> STATES =
      EnumSet.of(
          Thread.State.BLOCKED,
          Thread.State.WAITING,
          Thread.State.TIMED_WAITING,
          Thread.State.TERMINATED);

  private final CountDownLatch begun = new CountDownLatch(1);
  private final CountDownLatch goesOn = new CountDownLatch(1);

  @Test
  void theSecondThreadWaitsForTheCallOfTheFirst() throws IOException, InterruptedException {
    try (FakeGateway gateway = new FakeGateway()) {
      gateway.stream = (request, out) -> out.onNext(started());
      DashgateClient client = gateway.client().intercept(new Held()).build();
      AnswerStream stream = client.stream(new Conversation("m").user("Hello?"));
      stream.next();
      Thread first = new Thread(stream::close);
      first.start();
      assertTrue(begun.await(FakeGateway.WAIT_SECONDS, TimeUnit.SECONDS));
      Thread second =
          new Thread(
              () -> {
                stream.close();
                client.close();
              });
      second.start();
      // It waits, or it has ended without waiting.
      while (!STATES.contains(second.getState())) {
        Thread.onSpinWait();
      }
      goesOn.countDown();
      first.join();
      second.join();
      assertEquals(stream.requestId(), gateway.cancelCalls.poll());
      assertTrue(gateway.cancelCalls.isEmpty());
    }
  }

  @Test
  void aThreadThatIsInterruptedWaitsToo() throws IOException {
    try (FakeGateway gateway = new FakeGateway()) {
      gateway.stream = (request, out) -> out.onNext(started());
      DashgateClient client = gateway.client().build();
      AnswerStream stream = client.stream(new Conversation("m").user("Hello?"));
      stream.next();
      Thread.currentThread().interrupt();
      stream.close();
      client.close();
      assertTrue(Thread.interrupted());
      assertEquals(stream.requestId(), gateway.cancelCalls.poll());
    }
  }

  private static ConverseStreamResponse started() {
    ConverseStreamResponse.Builder event = FakeGateway.started().toBuilder();
    event.getStartedBuilder().setResumable(true);
    return event.setSequence(1).build();
  }

  /** Holds the call that ends another one before it begins. */
  private final class Held implements ClientInterceptor {
    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      if (method.getFullMethodName().equals(
          CallServiceGrpc.getCancelCallMethod().getFullMethodName())) {
        begun.countDown();
        try {
          goesOn.await();
        } catch (InterruptedException e) {
          throw new IllegalStateException(e);
        }
      }
      return next.newCall(method, options);
    }
  }
}
