package io.dashgate;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptors;
import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * The connections of a client. Another one is opened when all have as many calls as a gateway takes
 * at once. If there are as many connections as a client may have, calls wait in their order.
 */
final class ConnectionPool extends Channel {
  /** How many calls a gateway takes at once on a connection. */
  static final int CALLS_PER_CONNECTION = 100;

  static final int MAX_CONNECTIONS = 20;

  /** The call does not wait for a place: it ends another one. */
  static final CallOptions.Key<Boolean> AT_ONCE =
      CallOptions.Key.createWithDefault("dashgate-at-once", false);

  /** The longest delay between attempts to connect; that of grpc-java is two minutes. */
  private static final long RECONNECT_NANOS = TimeUnit.SECONDS.toNanos(5);

  /**
   * Netty counts a call that was left until its end is sent. What begins earlier on a connection
   * that is full is only sent with what follows, which may be the next heartbeat.
   */
  private static final long LEAVING_MILLIS = 100;

  private final Supplier<ManagedChannel> open;
  private final Reach reach;
  private final CallLog log;
  private final int maxConnections;
  private final int callsPerConnection;

  // Guarded by this, as is the content.
  private final List<Lane> lanes = new ArrayList<>();
  /** For calls that end others while all are full; null before it is needed. */
  private Lane spare;

  private final Set<PooledCall<?, ?>> waiting = new LinkedHashSet<>();
  /** Calls that wait do not begin any more. */
  private boolean closing;

  ConnectionPool(
      Supplier<ManagedChannel> open,
      String address,
      CallLog log,
      int maxConnections,
      int callsPerConnection) {
    this.open = open;
    this.reach = new Reach(address, true);
    this.log = log;
    this.maxConnections = maxConnections;
    this.callsPerConnection = callsPerConnection;
    add();
  }

  /** A channel with its own connection. */
  static final class Lane {
    final ManagedChannel channel;
    /** The channel for calls. */
    final Channel entry;
    /** The number of calls in progress. */
    int calls;
    long failedAt;
    boolean failed;

    Lane(ManagedChannel channel, Reach reach) {
      this.channel = channel;
      this.entry = ClientInterceptors.intercept(channel, reach);
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
    return new PooledCall<>(this, method, options);
  }

  @Override
  public String authority() {
    return first().authority();
  }

  synchronized ManagedChannel first() {
    return lanes.get(0).channel;
  }

  /** Lets no call begin that waits, before others are cancelled, which have places. */
  synchronized void stopWaiting() {
    closing = true;
  }

  synchronized boolean isClosed() {
    return closing;
  }

  /** Closes all channels, and waits for a limited time. */
  void close(long seconds) throws InterruptedException {
    List<Lane> all;
    List<PooledCall<?, ?>> left;
    synchronized (this) {
      closing = true;
      all = new ArrayList<>(lanes);
      if (spare != null) {
        all.add(spare);
      }
      left = new ArrayList<>(waiting);
      waiting.clear();
    }
    left.forEach(it -> it.leave(Status.UNAVAILABLE.withDescription("the client was closed")));
    all.forEach(lane -> lane.channel.shutdownNow());
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    for (Lane lane : all) {
      lane.channel.awaitTermination(until - System.nanoTime(), TimeUnit.NANOSECONDS);
    }
  }

  private Lane add() {
    Lane lane = open(lanes.size() + 1);
    lanes.add(lane);
    return lane;
  }

  private Lane open(int number) {
    Lane lane = new Lane(open.get(), reach);
    log.connecting(number);
    return lane;
  }

  /** Returns a lane where no other call can take the place of one that ends calls. */
  private Lane spare() {
    if (spare == null) {
      spare = open(lanes.size() + 1);
    }
    return spare;
  }

  /** Returns a place for a call; null if the call waits, which begins later. */
  synchronized Lane take(PooledCall<?, ?> call, boolean atOnce) {
    Lane best = lanes.stream().min(Comparator.comparingInt(lane -> lane.calls)).orElseThrow();
    if (best.calls >= callsPerConnection) {
      if (lanes.size() < maxConnections && !closing) {
        best = add();
      } else if (atOnce) {
        best = spare();
      } else if (!closing) {
        waiting.add(call);
        return null;
      }
    }
    best.calls++;
    best.reconnect();
    return best;
  }

  /**
   * Takes the place of a call that has ended. The first one that waits gets it.
   *
   * @param isLeft the call may have been ended by this side
   */
  void release(Lane lane, boolean isLeft) {
    boolean mustPause;
    synchronized (this) {
      mustPause = isLeft && lane.calls >= callsPerConnection;
    }
    if (mustPause) {
      CompletableFuture.delayedExecutor(
              LEAVING_MILLIS, TimeUnit.MILLISECONDS, Background.THREADS)
          .execute(() -> pass(lane));
    } else {
      pass(lane);
    }
  }

  private void pass(Lane lane) {
    PooledCall<?, ?> next;
    synchronized (this) {
      Iterator<PooledCall<?, ?>> first = waiting.iterator();
      if (!first.hasNext() || closing || lane == spare) {
        lane.calls--;
        return;
      }
      next = first.next();
      first.remove();
      lane.reconnect();
    }
    // Not in the thread of the call that has ended, which may hold locks.
    Background.THREADS.execute(() -> next.beginLate(lane));
  }

  /** Removes a call that does not wait any longer. */
  synchronized void leave(PooledCall<?, ?> call) {
    waiting.remove(call);
  }

  /** Returns how many calls wait. */
  synchronized int waiting() {
    return waiting.size();
  }
}
