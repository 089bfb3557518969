package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RequestInfo;
import com.google.rpc.RetryInfo;
import io.dashgate.v1.CallFailure;
import io.dashgate.v1.ErrorReason;
import io.dashgate.v1.Usage;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;

class DashgateExceptionTest {
  @Test
  void tellsAllThatTheGatewayTold() throws Exception {
    com.google.rpc.Status told =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.RESOURCE_EXHAUSTED.value())
            .setMessage("too fast")
            .addDetails(
                Any.pack(
                    ErrorInfo.newBuilder()
                        .setReason("UPSTREAM_RATE")
                        .setDomain("dashgate")
                        .build()))
            .addDetails(
                Any.pack(
                    CallFailure.newBuilder()
                        .setReason(ErrorReason.UPSTREAM_RATE)
                        .setOutputStarted(true)
                        .setUsage(Usage.newBuilder().setOutputTokens(7))
                        .setModel("m")
                        .setUpstreamCode("Throttling.RateQuota")
                        .setUpstreamHttpStatus(429)
                        .setUpstreamRequestId("up-1")
                        .setAttempts(3)
                        .build()))
            .addDetails(Any.pack(RequestInfo.newBuilder().setRequestId("call-1").build()))
            .addDetails(
                Any.pack(
                    RetryInfo.newBuilder()
                        .setRetryDelay(Duration.newBuilder().setSeconds(5).setNanos(250_000_000))
                        .build()))
            .addDetails(
                Any.pack(
                    BadRequest.newBuilder()
                        .addFieldViolations(
                            BadRequest.FieldViolation.newBuilder()
                                .setField("conversation.model")
                                .setDescription("is empty"))
                        .build()))
            .build();
    Metadata trailers = StatusProto.toStatusException(told).getTrailers();
    trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), "9000");
    Status status = Status.RESOURCE_EXHAUSTED.withDescription("too fast");
    DashgateException fault = DashgateException.from(status, trailers, "sent");
    for (DashgateException it : new DashgateException[] {fault, copy(fault)}) {
      assertEquals(Status.Code.RESOURCE_EXHAUSTED, it.code());
      assertEquals("too fast", it.getMessage());
      assertEquals(ErrorReason.UPSTREAM_RATE, it.reason());
      assertEquals("UPSTREAM_RATE", it.rawReason());
      assertEquals(7, it.usage().orElseThrow().getOutputTokens());
      assertTrue(it.outputStarted());
      assertEquals("m", it.model());
      assertEquals("Throttling.RateQuota", it.upstreamCode());
      assertEquals(OptionalInt.of(429), it.upstreamHttpStatus());
      assertEquals("up-1", it.upstreamRequestId());
      assertEquals(OptionalInt.of(3), it.attempts());
      assertEquals("call-1", it.requestId());
      assertEquals(Optional.of(java.time.Duration.ofMillis(5250)), it.retryAfter());
      assertEquals("conversation.model", it.fieldViolations().get(0).getField());
      assertEquals("is empty", it.fieldViolations().get(0).getDescription());
      assertEquals(told, it.status());
      assertEquals(
          "io.dashgate.DashgateException: RESOURCE_EXHAUSTED UPSTREAM_RATE: too fast"
              + " (request id call-1)",
          it.toString());
    }
    assertEquals("9000", fault.trailers().get(FakeGateway.key("grpc-retry-pushback-ms")));
    assertTrue(copy(fault).trailers().keys().isEmpty());
  }

  @Test
  void doesWithWhatThereIs() {
    Status status = Status.UNAVAILABLE.withCause(new IOException("refused: host:1"));
    DashgateException fault =
        DashgateException.from(status.withDescription("io exception"), null, "sent");
    assertEquals("io exception: refused: host:1", fault.getMessage());
    Status missing =
        Status.UNAVAILABLE
            .withDescription("io exception")
            .withCause(new FileNotFoundException());
    assertEquals(
        "io exception: java.io.FileNotFoundException",
        DashgateException.from(missing, null, "sent").getMessage());
    assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, fault.reason());
    assertEquals("", fault.rawReason());
    assertEquals(Optional.empty(), fault.usage());
    assertEquals("", fault.upstreamCode());
    assertEquals("sent", fault.requestId());
    assertEquals(OptionalInt.empty(), fault.attempts());
    assertEquals(Optional.empty(), fault.retryAfter());
    assertTrue(fault.retryable());
    assertEquals(Status.Code.UNAVAILABLE.value(), fault.status().getCode());
    assertEquals(
        "INTERNAL", DashgateException.from(Status.INTERNAL, null, "").getMessage());
  }

  @Test
  void saysEachPartOnce() {
    assertEquals(
        "io.dashgate.DashgateException: INTERNAL (request id r-1)",
        DashgateException.from(Status.INTERNAL, null, "r-1").toString());
    assertEquals(
        "io.dashgate.DashgateException: DEADLINE_EXCEEDED: too late (request id r-1)",
        DashgateException.from(
                Status.DEADLINE_EXCEEDED.withDescription("too late"), null, "r-1")
            .toString());
    assertEquals(
        "io.dashgate.DashgateException: UNAVAILABLE: refused: host:1",
        DashgateException.from(
                Status.UNAVAILABLE
                    .withDescription("refused: host:1")
                    .withCause(new IOException("host:1")),
                null,
                "")
            .toString());
  }

  @Test
  void givesADeadlineThatEndsHereItsReason() {
    DashgateException fault = DashgateException.from(Status.DEADLINE_EXCEEDED, null, "sent");
    assertEquals(ErrorReason.DEADLINE_EXCEEDED, fault.reason());
    assertEquals("DEADLINE_EXCEEDED", fault.rawReason());
    assertFalse(fault.retryable());
  }

  @Test
  void knowsWhatMaySucceedLater() {
    assertTrue(pushedBack(Status.RESOURCE_EXHAUSTED, "10").retryable());
    assertTrue(pushedBack(Status.UNAVAILABLE, "0").retryable());
    assertFalse(pushedBack(Status.UNAVAILABLE, "-1").retryable());
    assertFalse(pushedBack(Status.UNAVAILABLE, "soon").retryable());
    assertFalse(DashgateException.from(Status.RESOURCE_EXHAUSTED, null, "").retryable());
    assertFalse(
        DashgateException.own(Status.Code.UNAVAILABLE, "STORE_FULL", "full", "").retryable());
  }

  @Test
  void hasTheTextsOfTheMetadata() {
    Metadata trailers = new Metadata();
    trailers.put(FakeGateway.key("x-one"), "1");
    trailers.put(FakeGateway.key("x-one"), "2");
    trailers.put(FakeGateway.key("x-both"), "late");
    trailers.put(Metadata.Key.of("x-bin", Metadata.BINARY_BYTE_MARSHALLER), new byte[] {1});
    Metadata initial = new Metadata();
    initial.put(FakeGateway.key("x-both"), "early");
    initial.put(FakeGateway.key("X-Request-Id"), "r-1");
    DashgateException fault = DashgateException.from(Status.INTERNAL, trailers, "");
    fault.initialMetadata(initial);
    assertEquals(
        Map.of("x-one", "1, 2", "x-both", "late", "x-request-id", "r-1"), fault.headers());
  }

  @Test
  void readsThePushbackOrNothing() {
    assertEquals(Optional.of(java.time.Duration.ofMillis(0)), retryAfter("0"));
    assertEquals(Optional.of(java.time.Duration.ofMillis(1200)), retryAfter("1200"));
    assertEquals(Optional.empty(), retryAfter("-1"));
    assertEquals(Optional.empty(), retryAfter("soon"));
  }

  @Test
  void survivesDetailsThatCannotBeRead() {
    Metadata trailers = new Metadata();
    Metadata.Key<byte[]> key =
        Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);
    trailers.put(key, new byte[] {-1, -1});
    DashgateException fault =
        DashgateException.from(Status.INTERNAL.withDescription("odd"), trailers, "sent");
    assertEquals("odd", fault.getMessage());
    assertEquals("sent", fault.requestId());
  }

  private static Optional<java.time.Duration> retryAfter(String pushback) {
    return pushedBack(Status.UNAVAILABLE, pushback).retryAfter();
  }

  private static DashgateException pushedBack(Status status, String pushback) {
    Metadata trailers = new Metadata();
    trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), pushback);
    return DashgateException.from(status, trailers, "");
  }

  private static DashgateException copy(DashgateException fault) throws Exception {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(fault);
    }
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      return (DashgateException) in.readObject();
    }
  }
}
