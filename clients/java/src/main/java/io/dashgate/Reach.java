package io.dashgate;

import io.grpc.Attributes;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ClientStreamTracer;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Notes for each attempt of a call whether it reaches the gateway, and names the address in the
 * error of one that does not, or whose connection is lost: grpc-java often leaves it out.
 */
final class Reach implements ClientInterceptor {
  /** The description of errors whose cause says what happened. */
  private static final String NO_DESCRIPTION = "io exception";

  /** The error of a server that does not speak HTTP/2, which is no error of a gateway. */
  private static final String PROTOCOL = "http2 exception";

  private static final String SHUTDOWN = "Channel shutdown";

  /** How deep a chain of causes is read, which may form a circle. */
  private static final int DEPTH = 10;

  /** As long as gRPC libraries wait for a port that accepts connections and never answers. */
  static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(20);

  private final String address;
  private final Duration connectTimeout;
  /** Whether a connection is known to be the client's own. */
  private final boolean isOwn;

  /**
   * Notes the attempts at an address.
   *
   * @param isOwn false for a channel that was passed, which may answer calls without a connection
   */
  Reach(String address, boolean isOwn) {
    this(address, isOwn, CONNECT_TIMEOUT);
  }

  /** With a timeout that tests can wait for. */
  Reach(String address, boolean isOwn, Duration connectTimeout) {
    this.address = CallLog.line(address);
    this.isOwn = isOwn;
    this.connectTimeout = connectTimeout;
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    CallRecord record = options.getOption(CallRecord.OPTION);
    Attempt attempt = new Attempt(record);
    return new SimpleForwardingClientCall<>(
        next.newCall(method, options.withStreamTracerFactory(attempt))) {
      @Override
      public void start(Listener<A> responses, Metadata headers) {
        if (isExpired(options.getDeadline())) {
          // What is over before it begins does not wait for a connection.
          attempt.isOver = true;
        } else if (isOwn) {
          attempt.connecting();
          attempt.onTimeout(() -> giveUp(next));
        }
        super.start(
            new SimpleForwardingClientCallListener<>(responses) {
              @Override
              public void onClose(Status status, Metadata trailers) {
                attempt.stopTimer();
                super.onClose(attempt.explained(status), trailers);
              }
            },
            headers);
      }

      /** Leaves a connection that is not made. Others then try a new one, too. */
      private void giveUp(Channel channel) {
        if (channel instanceof ManagedChannel) {
          ((ManagedChannel) channel).enterIdle();
        }
        cancel("no connection in time", null);
      }
    };
  }

  private static boolean isExpired(Deadline own) {
    Deadline outer = Context.current().getDeadline();
    return own != null && own.isExpired() || outer != null && outer.isExpired();
  }

  /** One attempt. The channel notes its streams: more than one if it makes it again by itself. */
  private final class Attempt extends ClientStreamTracer.Factory {
    /** Null for a call of a generated stub. */
    private final CallRecord record;

    private volatile boolean isOver;
    private volatile boolean isConnecting;
    private volatile boolean isConnected;
    private volatile boolean isAnswered;
    private volatile boolean isTimedOut;
    private final CompletableFuture<Boolean> timer = new CompletableFuture<>();

    Attempt(CallRecord record) {
      this.record = record;
    }

    void connecting() {
      isConnecting = true;
      if (record != null) {
        record.connecting("cannot connect to " + address + ": no connection could be made in time");
      }
    }

    void onTimeout(Runnable giveUp) {
      timer
          .completeOnTimeout(true, connectTimeout.toNanos(), TimeUnit.NANOSECONDS)
          .thenAcceptAsync(
              due -> {
                if (due) {
                  isTimedOut = true;
                  giveUp.run();
                }
              },
              Background.THREADS);
    }

    void stopTimer() {
      timer.complete(false);
    }

    @Override
    public ClientStreamTracer newClientStreamTracer(
        ClientStreamTracer.StreamInfo info, Metadata headers) {
      if (!isConnecting && !isOver) {
        connecting();
      }
      return new ClientStreamTracer() {
        @Override
        public void streamCreated(Attributes transport, Metadata sent) {
          isConnected = true;
          stopTimer();
          if (record != null) {
            record.connected();
          }
        }

        @Override
        public void inboundTrailers(Metadata trailers) {
          isAnswered = true;
        }
      };
    }

    /** Returns the status with the address, if it is an error of the connection. */
    Status explained(Status status) {
      if (isTimedOut && !isConnected && status.getCode() == Status.Code.CANCELLED) {
        String late = "no connection within " + connectTimeout.toSeconds() + " s";
        return failed("cannot connect to " + address + ": " + late, null);
      }
      String description = status.getDescription() == null ? "" : status.getDescription();
      boolean isUnavailable = status.getCode() == Status.Code.UNAVAILABLE;
      boolean isForeign =
          !isConnected
              && status.getCode() == Status.Code.INTERNAL
              && description.startsWith(PROTOCOL);
      boolean isOfConnection = isConnecting && !isAnswered && (isUnavailable || isForeign);
      if (!isOfConnection || description.startsWith(SHUTDOWN)) {
        return status;
      }
      String what = "cannot connect to " + address;
      if (isConnected) {
        what = isLost(status) ? "the connection to " + address + " was lost" : address;
      }
      return failed(what + ": " + why(status), status.getCause());
    }

    private Status failed(String message, Throwable cause) {
      Status named = Status.UNAVAILABLE.withDescription(message).withCause(cause);
      if (record != null) {
        record.failed(named);
      }
      return named;
    }
  }

  private static boolean isLost(Status status) {
    String description = status.getDescription() == null ? "" : status.getDescription();
    return status.getCause() != null
        || description.startsWith("Network closed")
        || description.startsWith("Connection closed");
  }

  /** Returns the description and the messages of its first and its last cause. */
  private static String why(Status status) {
    StringBuilder text = new StringBuilder();
    String description = status.getDescription();
    Throwable cause = status.getCause();
    if (description != null) {
      // The rest is the pipeline of Netty, or the page of a proxy.
      String line = description.lines().findFirst().orElse("");
      text.append(cause != null && line.equals(NO_DESCRIPTION) ? "" : line);
    }
    if (cause != null) {
      append(text, cause);
      Throwable last = cause;
      for (int depth = 0; last.getCause() != null && depth < DEPTH; depth++) {
        last = last.getCause();
      }
      append(text, last);
    }
    return text.toString();
  }

  private static void append(StringBuilder text, Throwable cause) {
    String message = ErrorDetails.message(cause);
    if (text.indexOf(message) < 0) {
      text.append(text.length() == 0 ? "" : ": ").append(message);
    }
  }
}
