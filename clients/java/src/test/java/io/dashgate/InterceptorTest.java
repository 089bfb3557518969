package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.ConverseStreamResponse;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class InterceptorTest {
  private static final Conversation QUESTION = new Conversation("m").user("Hello?");

  /** The threads of the attempts. */
  private final List<String> threads = new CopyOnWriteArrayList<>();

  private final List<String> seen = new CopyOnWriteArrayList<>();
  private FakeGateway gateway;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
  }

  @AfterEach
  void stop() {
    gateway.close();
  }

  @Test
  void runsAroundEachAttemptAndSeesTheMetadata() {
    gateway.converse =
        (request, out) -> {
          if (gateway.requests.size() == 1) {
            out.onError(FakeGateway.pushedBack(Status.UNAVAILABLE, "1"));
          } else {
            out.onNext(ConverseResponse.getDefaultInstance());
            out.onCompleted();
          }
        };
    try (DashgateClient client =
        gateway
            .client()
            .metadata("x-team", "blue")
            .intercept(new Named("outer"), new Named("inner"))
            .intercept(new Named("last"))
            .build()) {
      client.converse(QUESTION);
    }
    List<String> attempt =
        List.of("outer Converse blue", "inner Converse blue", "last Converse blue");
    assertEquals(attempt, seen.subList(0, 3));
    assertEquals(attempt, seen.subList(3, 6));
    assertEquals("last", gateway.headers.get(0).get(FakeGateway.key("x-seen-by")));
  }

  @Test
  void endsTheCallIfItFailsAtALaterAttempt() {
    gateway.converse =
        (request, out) -> out.onError(FakeGateway.pushedBack(Status.UNAVAILABLE, "1"));
    gateway.stream =
        (request, out) -> {
          ConverseStreamResponse.Builder event = FakeGateway.started().toBuilder();
          event.getStartedBuilder().setResumable(true);
          out.onNext(event.setSequence(1).build());
          out.onError(Status.UNAVAILABLE.asException());
        };
    for (boolean early : List.of(true, false)) {
      threads.clear();
      try (DashgateClient client = gateway.client().intercept(new Failing(early)).build()) {
        DashgateException fault =
            assertThrows(DashgateException.class, () -> client.converse(QUESTION));
        assertEquals(Status.Code.UNKNOWN, fault.code());
        assertEquals("no token", fault.getMessage());
        threads.remove(0);
        DashgateException lost =
            assertThrows(DashgateException.class, () -> client.stream(QUESTION).finalAnswer());
        assertEquals(Status.Code.UNAVAILABLE, lost.code());
      }
      // The threads of the common pool may all wait for calls like these.
      assertEquals("dashgate-background", threads.get(0));
      assertEquals("dashgate-background", threads.get(2));
    }
  }

  @Test
  void leavesNoCallBehindIfItFails() {
    // The first attempt is good, and those after it fail when they have begun.
    try (DashgateClient client =
        gateway.client().limits(1, 1).intercept(new Failing(false)).build()) {
      client.converse(QUESTION);
      for (int at = 0; at < 3; at++) {
        assertThrows(IllegalArgumentException.class, () -> client.converse(QUESTION));
      }
      // The only place of the pool is free.
      client.getModel("m", CallSettings.create().timeout(Duration.ofSeconds(5)));
    }
  }

  @Test
  void replacesSingleOptionsAndKeepsTheOthers() {
    try (DashgateClient client =
        gateway
            .client()
            .configureChannel(builder -> builder.userAgent("mine/1"))
            .configureChannel(builder -> builder.maxInboundMetadataSize(100_000))
            .build()) {
      client.converse(QUESTION);
    }
    String agent = gateway.headers.get(0).get(FakeGateway.key("user-agent"));
    assertTrue(agent.startsWith("mine/1"), agent);
  }

  @Test
  void belongsToTheChannelThatWasPassed() {
    ManagedChannel channel =
        Grpc.newChannelBuilder(gateway.target(), InsecureChannelCredentials.create()).build();
    DashgateClientBuilder one =
        DashgateClient.builder().channel(channel).intercept(new Named("a"));
    DashgateClientBuilder other =
        DashgateClient.builder().channel(channel).configureChannel(builder -> {});
    assertThrows(IllegalArgumentException.class, one::build);
    assertThrows(IllegalArgumentException.class, other::build);
    channel.shutdownNow();
  }

  /** Fails from the second attempt of a call on. */
  private final class Failing implements ClientInterceptor {
    private final Set<String> begun = ConcurrentHashMap.newKeySet();
    private final boolean early;

    Failing(boolean early) {
      this.early = early;
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      boolean fails = !begun.add(method.getBareMethodName());
      threads.add(Thread.currentThread().getName());
      if (fails && early) {
        throw new IllegalArgumentException("no token");
      }
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<A> responses, Metadata headers) {
          super.start(responses, headers);
          if (fails) {
            throw new IllegalArgumentException("no token");
          }
        }
      };
    }
  }

  private final class Named implements ClientInterceptor {
    private final String name;

    Named(String name) {
      this.name = name;
    }

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<A> responses, Metadata headers) {
          seen.add(
              name + " " + method.getBareMethodName() + " "
                  + headers.get(FakeGateway.key("x-team")));
          headers.discardAll(FakeGateway.key("x-seen-by"));
          headers.put(FakeGateway.key("x-seen-by"), name);
          super.start(responses, headers);
        }
      };
    }
  }
}
