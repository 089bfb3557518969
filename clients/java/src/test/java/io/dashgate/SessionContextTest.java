package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class SessionContextTest {
  @Test
  void aCancelledContextEndsTheDelayOfASession() throws IOException {
    ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    Context.CancellableContext context = Context.current().withCancellation();
    try (FakeGateway gateway = new FakeGateway();
        DashgateClient client = gateway.client().build()) {
      gateway.live.scripts.add(
          (message, out) -> {
            out.onNext(FakeLive.started(1, false));
            Metadata trailers = new Metadata();
            trailers.put(FakeGateway.key("grpc-retry-pushback-ms"), "5000");
            out.onError(Status.UNAVAILABLE.asRuntimeException(trailers));
          });
      long begun = System.nanoTime();
      context.run(
          () -> {
            LiveSession session = client.live("qwen3-omni-flash-realtime");
            session.next();
            timer.schedule(() -> context.cancel(null), 200, TimeUnit.MILLISECONDS);
            DashgateException left = assertThrows(DashgateException.class, session::hasNext);
            assertEquals(Status.Code.CANCELLED, left.code());
          });
      assertTrue(System.nanoTime() - begun < TimeUnit.SECONDS.toNanos(3));
    } finally {
      context.cancel(null);
      timer.shutdownNow();
    }
  }
}
