package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.ConverseResponse;
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
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class InterceptorTest {
  private static final Conversation QUESTION = new Conversation("m").user("Hello?");

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
