import io.dashgate.AnswerStream;
import io.dashgate.CallSettings;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateException;
import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.GenerationOptions;
import io.grpc.ClientInterceptor;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.time.Duration;
import java.util.concurrent.TimeUnit;

/** Shows errors, deadlines, cancellation, request ids, generated stubs and existing channels. */
public final class Care {
  private Care() {}

  /** Runs all examples. */
  public static void main(String[] args) throws InterruptedException {
    try (DashgateClient client = DashgateClient.create()) {
      errors(client);
      deadlines(client);
      cancellation(client);
      names(client);
      stubs(client);
    }
    channel();
    builder();
  }

  private static void errors(DashgateClient client) {
    // region errors
    try {
      client.converse(new Conversation("no-such-model").user("Hello"));
    } catch (DashgateException e) {
      System.err.println(e.code() + " " + e.rawReason() + ": " + e.getMessage());
      System.err.println("request id " + e.requestId() + ", DashScope: " + e.upstreamCode());
      if (e.retryable()) {
        System.err.println("the same call may succeed later: " + e.retryAfter());
      }
      e.fieldViolations().forEach(it -> System.err.println(it.getField() + it.getDescription()));
    }
    // endregion
  }

  private static void deadlines(DashgateClient client) {
    Conversation conversation = new Conversation("qwen3.6-plus").user("Hello");
    // region deadlines
    GenerationOptions options = GenerationOptions.newBuilder().setTemperature(0.2).build();
    CallSettings settings =
        CallSettings.create().timeout(Duration.ofSeconds(30)).options(options);
    System.out.println(client.converse(conversation, settings).text());
    // endregion
  }

  private static void cancellation(DashgateClient client) {
    Conversation conversation = new Conversation("qwen3.6-plus").user("Tell me a long story.");
    // region cancellation
    Context.CancellableContext context = Context.current().withCancellation();
    context.run(
        () -> {
          try (AnswerStream stream = client.stream(conversation)) {
            System.out.println(stream.next().getEventCase());
            context.cancel(null); // From any thread.
            stream.finalAnswer();
          } catch (DashgateException e) {
            System.out.println(e.code()); // CANCELLED
          }
        });
    // endregion
  }

  private static void names(DashgateClient client) {
    Conversation conversation = new Conversation("qwen3.6-plus").user("Hello");
    // region names
    CallSettings named = CallSettings.create().requestId("order-17-greeting");
    System.out.println(client.converse(conversation, named).requestId());
    // endregion
  }

  private static void stubs(DashgateClient client) {
    Conversation conversation = new Conversation("qwen3.6-plus").user("Hello");
    // region stubs
    ConverseResponse response =
        ConversationServiceGrpc.newBlockingStub(client.channel())
            .withDeadlineAfter(30, TimeUnit.SECONDS)
            .converse(ConverseRequest.newBuilder().setConversation(conversation.raw()).build());
    System.out.println(response.getChoices(0).getFinishReason());
    // endregion
  }

  private static void builder() {
    ClientInterceptor tracing = MetadataUtils.newAttachHeadersInterceptor(new Metadata());
    // region builder
    DashgateClient client =
        DashgateClient.builder()
            .maxRetries(3) // Of throttled calls.
            .intercept(tracing)
            .configureChannel(it -> it.keepAliveTime(10, TimeUnit.MINUTES))
            .build();
    // endregion
    client.close();
  }

  private static void channel() throws InterruptedException {
    String address = System.getenv().getOrDefault("DASHGATE_ADDR", "127.0.0.1:50051");
    // region channel
    ManagedChannel channel =
        Grpc.newChannelBuilder(address, InsecureChannelCredentials.create()).build();
    try (DashgateClient client = DashgateClient.builder().channel(channel).build()) {
      System.out.println(client.converse(new Conversation("qwen3.6-plus").user("Hello")).text());
    }
    channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    // endregion
  }
}
