package io.dashgate;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ConnectivityState;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Supplier;

/**
 * The connections of a client. Another one is opened when all have as many calls as a gateway takes
 * at once.
 */
final class ConnectionPool extends Channel {
  /** How many calls a gateway takes at once on a connection. */
  static final int CALLS_PER_CONNECTION = 100;

  static final int MAX_CONNECTIONS = 20;

  /** The longest delay between attempts to connect; that of grpc-java is two minutes. */
  private static final long RECONNECT_NANOS = TimeUnit.SECONDS.toNanos(5);

  private final Supplier<ManagedChannel> open;
  private final CallLog log;
  /** Guarded by this, as is the content. */
  private final List<Lane> lanes = new ArrayList<>();
  private boolean closed;

  ConnectionPool(Supplier<ManagedChannel> open, CallLog log) {
    this.open = open;
    this.log = log;
    add();
  }

  /** A channel with its own connection. */
  private static final class Lane {
    final ManagedChannel channel;
    /** The number of calls in progress. */
    int calls;
    long failedAt;
    boolean failed;

    Lane(ManagedChannel channel) {
      this.channel = channel;
    }

    /** Lets a channel that could not connect try again, if its own delay would be too long. */
    void reconnect() {
      if (channel.getState(false) != ConnectivityState.TRANSIENT_FAILURE) {
        failed = false;
      } else if (!failed) {
        failed = true;
        failedAt = System.nanoTime();
      } else if (System.nanoTime() - failedAt > RECONNECT_NANOS) {
        failed = false;
        channel.resetConnectBackoff();
      }
    }
  }

  @Override
  public <Q, A> ClientCall<Q, A> newCall(MethodDescriptor<Q, A> method, CallOptions options) {
    Lane lane = take();
    return new SimpleForwardingClientCall<Q, A>(lane.channel.newCall(method, options)) {
      /** A call that is never started, or cancelled before, does not report an end. */
      private final AtomicBoolean isCounted = new AtomicBoolean(true);

      @Override
      public void start(Listener<A> listener, Metadata headers) {
        super.start(
            new SimpleForwardingClientCallListener<A>(listener) {
              @Override
              public void onClose(Status status, Metadata trailers) {
                release();
                super.onClose(status, trailers);
              }
            },
            headers);
      }

      @Override
      public void cancel(String message, Throwable cause) {
        release();
        super.cancel(message, cause);
      }

      private void release() {
        if (isCounted.compareAndSet(true, false)) {
          synchronized (ConnectionPool.this) {
            lane.calls--;
          }
        }
      }
    };
  }

  @Override
  public String authority() {
    return first().authority();
  }

  synchronized ManagedChannel first() {
    return lanes.get(0).channel;
  }

  /** Closes all channels, and waits for a limited time. */
  void close(long seconds) throws InterruptedException {
    List<Lane> all;
    synchronized (this) {
      closed = true;
      all = new ArrayList<>(lanes);
    }
    all.forEach(lane -> lane.channel.shutdownNow());
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    for (Lane lane : all) {
      lane.channel.awaitTermination(until - System.nanoTime(), TimeUnit.NANOSECONDS);
    }
  }

  private Lane add() {
    Lane lane = new Lane(open.get());
    lanes.add(lane);
    log.connecting(lanes.size());
    return lane;
  }

  private synchronized Lane take() {
    Lane best = lanes.stream().min(Comparator.comparingInt(lane -> lane.calls)).orElseThrow();
    if (best.calls >= CALLS_PER_CONNECTION && lanes.size() < MAX_CONNECTIONS && !closed) {
      best = add();
    }
    best.calls++;
    best.reconnect();
    return best;
  }
}
