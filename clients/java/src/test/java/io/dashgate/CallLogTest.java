package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import io.dashgate.v1.ConverseResponse;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class CallLogTest {
  private static final Logger LOGGER = Logger.getLogger("io.dashgate");
  private static final Conversation QUESTION = new Conversation("m").user("A secret question");

  private final List<String> lines = new CopyOnWriteArrayList<>();
  private final Handler handler =
      new Handler() {
        @Override
        public void publish(LogRecord record) {
          lines.add(record.getMessage());
        }

        @Override
        public void flush() {
          // Nothing is buffered.
        }

        @Override
        public void close() {
          // Nothing is open.
        }
      };

  private FakeGateway gateway;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    LOGGER.addHandler(handler);
    LOGGER.setUseParentHandlers(false);
  }

  @AfterEach
  void stop() {
    LOGGER.removeHandler(handler);
    LOGGER.setUseParentHandlers(true);
    gateway.close();
  }

  @Test
  void hasALineForEachCall() {
    gateway.converse = (request, out) -> out.onError(Status.DATA_LOSS.asException());
    try (DashgateClient client = client("INFO")) {
      CallSettings settings = CallSettings.create().requestId("r-1");
      client.streamAsync(QUESTION, settings, event -> {}).join();
      assertThrows(DashgateException.class, () -> client.converse(QUESTION, settings));
      gateway.stream =
          (request, out) -> {
            out.onNext(FakeGateway.started());
            out.onCompleted();
          };
      try (AnswerStream stream = client.stream(QUESTION, settings.requestId("r\n2"))) {
        assertThrows(DashgateException.class, stream::finalAnswer);
      }
    }
    String place = ", " + gateway.target();
    assertEquals(
        List.of(
            "dashgate: ConverseStream OK N ms, request id r-1" + place,
            "dashgate: Converse DATA_LOSS N ms, request id r-1" + place,
            "dashgate: ConverseStream INTERNAL STREAM_TRUNCATED N ms, request id r?2" + place),
        lines());
  }

  @Test
  void ofDebugHasRetriesAndConnections() {
    gateway.converse =
        (request, out) -> {
          if (gateway.requests.size() == 1) {
            out.onError(FakeGateway.pushedBack(Status.UNAVAILABLE, "1"));
          } else if (gateway.requests.size() == 2) {
            out.onError(FakeGateway.pushedBack(Status.RESOURCE_EXHAUSTED, "1"));
          } else {
            out.onNext(ConverseResponse.getDefaultInstance());
            out.onCompleted();
          }
        };
    try (DashgateClient client = client("debug")) {
      client.converse(QUESTION, CallSettings.create().requestId("r-1").maxRetries(1));
    }
    String rest = ", request id r-1, " + gateway.target();
    assertEquals(
        List.of(
            "dashgate: connection 1, " + gateway.target(),
            "dashgate: Converse retry in N ms after UNAVAILABLE" + rest,
            "dashgate: Converse retry in N ms after RESOURCE_EXHAUSTED" + rest,
            "dashgate: Converse OK N ms" + rest),
        lines());
  }

  @Test
  void hasPrintableAsciiOfWhatComesFromElsewhere() {
    String reason = "A\u0085\u2028\n\u00e9\ud83d\ude00" + "R".repeat(300);
    ErrorInfo info = ErrorInfo.newBuilder().setReason(reason).setDomain("proxy").build();
    com.google.rpc.Status status =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.ABORTED.value())
            .addDetails(Any.pack(info))
            .build();
    gateway.converse =
        (request, out) -> out.onError(StatusProto.toStatusRuntimeException(status));
    try (DashgateClient client = client("info")) {
      CallSettings settings =
          CallSettings.create().requestId("\u8bf7\u6c42\r\u2028" + "i".repeat(300));
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(QUESTION, settings));
      assertEquals(reason, fault.rawReason());
    }
    assertEquals(
        List.of(
            "dashgate: Converse ABORTED A?????" + "R".repeat(194)
                + " N ms, request id ????" + "i".repeat(196) + ", " + gateway.target()),
        lines());
  }

  @Test
  void isOffByDefaultAndForUnknownValues() {
    for (String level : List.of("", "off", "loud")) {
      try (DashgateClient client = client(level)) {
        client.converse(QUESTION);
      }
    }
    assertEquals(List.of(), lines());
  }

  @Test
  void hasNoContentAndNoKeys() {
    try (DashgateClient client = client("debug")) {
      client.converse(QUESTION, CallSettings.create().metadata("x-secret", "sesame"));
    }
    assertTrue(lines.size() > 1);
    for (String line : lines) {
      assertFalse(line.contains("secret") || line.contains("sesame"), line);
    }
  }

  private List<String> lines() {
    return lines.stream()
        .map(line -> line.replaceAll("\\d+ ms", "N ms"))
        .collect(Collectors.toList());
  }

  private DashgateClient client(String level) {
    return gateway.client().environment(Map.of("DASHGATE_LOG", level)).apiKey("sesame").build();
  }
}
