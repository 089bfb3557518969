package io.dashgate;

import io.grpc.Attributes;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/**
 * A call on a connection of the pool. It takes its place when it is started, and waits in the
 * client if there is none. What is done with it meanwhile is done when it has one.
 */
final class PooledCall<Q, A> extends ClientCall<Q, A> {
  private final ConnectionPool pool;
  private final MethodDescriptor<Q, A> method;
  private final CallOptions options;
  private final Context context = Context.current();
  private final AtomicBoolean isCounted = new AtomicBoolean();

  /** Null before it has a connection, and all that was pending is done. */
  private volatile ClientCall<Q, A> call;
  /** The connection was ready for messages before others could see that. */
  private volatile boolean wasReady;

  // Guarded by this, which is not held while the call or its listener is called.
  private final List<Consumer<ClientCall<Q, A>>> pending = new ArrayList<>(0);
  private Listener<A> listener;
  private Metadata headers;
  private ConnectionPool.Lane lane;
  private boolean isBeginning;
  private boolean isCancelled;
  /** The end of a call that never had a connection, or null. */
  private Status end;
  /** Null if it does not wait. */
  private WaitLimit limit;

  PooledCall(ConnectionPool pool, MethodDescriptor<Q, A> method, CallOptions options) {
    this.pool = pool;
    this.method = method;
    this.options = options;
  }

  @Override
  public void start(Listener<A> responses, Metadata metadata) {
    ConnectionPool.Lane free;
    synchronized (this) {
      listener = responses;
      headers = metadata;
      if (end != null) {
        close();
        return;
      }
      free = pool.take(this, options.getOption(ConnectionPool.AT_ONCE));
      if (free == null) {
        startWaiting();
        return;
      }
    }
    begin(free);
  }

  /** Begins after it has waited, with the place of a call that has ended. */
  void beginLate(ConnectionPool.Lane free) {
    try {
      begin(free);
    } catch (RuntimeException | Error e) {
      synchronized (this) {
        end = Status.fromThrowable(e);
        close();
      }
    }
  }

  private void begin(ConnectionPool.Lane free) {
    synchronized (this) {
      lane = free;
      isCounted.set(true);
      stopWaiting();
      isBeginning = end == null;
    }
    if (!isBeginning) {
      release(false);
      return;
    }
    Context before = context.attach();
    try {
      ClientCall<Q, A> begun = free.entry.newCall(method, options);
      begun.start(new Counted(listener), headers);
      doPending(begun);
    } catch (RuntimeException | Error e) {
      release(true);
      throw e;
    } finally {
      context.detach(before);
    }
    if (wasReady) {
      Background.THREADS.execute(listener::onReady);
    }
  }

  private void doPending(ClientCall<Q, A> begun) {
    while (true) {
      List<Consumer<ClientCall<Q, A>>> next;
      synchronized (this) {
        if (pending.isEmpty()) {
          call = begun;
          return;
        }
        next = new ArrayList<>(pending);
        pending.clear();
      }
      try {
        next.forEach(it -> it.accept(begun));
      } catch (RuntimeException | Error e) {
        // Such as a message that cannot be written. Its listener receives the end.
        begun.cancel("the call could not be begun", e);
      }
    }
  }

  @Override
  public void request(int messages) {
    use(it -> it.request(messages));
  }

  @Override
  public void sendMessage(Q message) {
    use(it -> it.sendMessage(message));
  }

  @Override
  public void halfClose() {
    use(ClientCall::halfClose);
  }

  @Override
  public void setMessageCompression(boolean enabled) {
    use(it -> it.setMessageCompression(enabled));
  }

  @Override
  public boolean isReady() {
    ClientCall<Q, A> begun = call;
    return begun != null && begun.isReady();
  }

  @Override
  public Attributes getAttributes() {
    ClientCall<Q, A> begun = call;
    return begun == null ? Attributes.EMPTY : begun.getAttributes();
  }

  @Override
  public void cancel(String message, Throwable cause) {
    Consumer<ClientCall<Q, A>> action =
        it -> {
          release(true);
          it.cancel(message, cause);
        };
    ClientCall<Q, A> begun = call;
    if (begun == null) {
      begun = cancelEarly(action, Status.CANCELLED.withDescription(message).withCause(cause));
    }
    if (begun != null) {
      action.accept(begun);
    }
  }

  private ClientCall<Q, A> cancelEarly(Consumer<ClientCall<Q, A>> action, Status status) {
    synchronized (this) {
      if (call == null && isBeginning && !isCancelled) {
        pending.add(action);
        isCancelled = true;
      }
    }
    leave(status);
    return call;
  }

  /** Ends the call if it has no connection. */
  void leave(Status status) {
    synchronized (this) {
      if (end != null || isBeginning) {
        return;
      }
      end = status;
      stopWaiting();
      // Before its listener receives the end, which may begin the next call.
      pool.leave(this);
      if (listener != null) {
        close();
      }
    }
  }

  private void use(Consumer<ClientCall<Q, A>> action) {
    ClientCall<Q, A> begun = call;
    if (begun == null) {
      synchronized (this) {
        begun = call;
        if (begun == null) {
          if (end == null && !isCancelled) {
            pending.add(action);
          }
          return;
        }
      }
    }
    action.accept(begun);
  }

  private void startWaiting() {
    IdleClock idle = options.getOption(IdleClock.OPTION);
    if (idle != null) {
      idle.hold();
    }
    limit = new WaitLimit(context, options.getDeadline(), this::leave);
    limit.start();
  }

  private void stopWaiting() {
    if (limit == null) {
      return;
    }
    limit.stop();
    limit = null;
    IdleClock idle = options.getOption(IdleClock.OPTION);
    if (idle != null) {
      idle.goOn();
    }
  }

  private void close() {
    // As with grpc-java, the end is not reported by the method that ends it.
    Background.THREADS.execute(() -> context.run(() -> listener.onClose(end, new Metadata())));
  }

  private void release(boolean isLeft) {
    if (isCounted.compareAndSet(true, false)) {
      pool.release(lane, isLeft);
    }
  }

  /** Frees the place at the end of the call. */
  private final class Counted extends SimpleForwardingClientCallListener<A> {
    Counted(Listener<A> listener) {
      super(listener);
    }

    @Override
    public void onReady() {
      if (call == null) {
        wasReady = true;
      }
      super.onReady();
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      // Errors may be those of this side, such as a deadline.
      release(!status.isOk());
      super.onClose(status, trailers);
    }
  }
}
