package io.dashgate;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.ManagedChannelProvider;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** Opens the channels of a client, each with its own connection. */
final class Connections {
  private static final String USER_AGENT = "dashgate-java/" + Version.NUMBER;

  /** The strictest servers allow one ping in 5 minutes. */
  private static final long KEEPALIVE_MINUTES = 6;

  private static final long KEEPALIVE_TIMEOUT_SECONDS = 20;

  private Connections() {}

  /**
   * Returns a channel, which connects with its first call.
   *
   * @param tls null for none
   * @param options applied after the defaults
   */
  static ManagedChannel open(
      Target target, Tls tls, Consumer<ManagedChannelBuilder<?>> options) {
    ManagedChannelBuilder<?> builder =
        target.isUnix() ? socket(target, tls) : network(target, tls);
    if (tls != null && tls.serverName() != null) {
      builder.overrideAuthority(tls.serverName());
    }
    builder
        .userAgent(USER_AGENT)
        .maxInboundMessageSize(Calls.MAX_ANSWER_BYTES)
        .keepAliveTime(KEEPALIVE_MINUTES, TimeUnit.MINUTES)
        .keepAliveTimeout(KEEPALIVE_TIMEOUT_SECONDS, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(false)
        // Retries implements the policy; a service config of DNS must not change it.
        .disableServiceConfigLookUp();
    options.accept(builder);
    return builder.build();
  }

  private static ManagedChannelBuilder<?> network(Target target, Tls tls) {
    ChannelCredentials credentials = InsecureChannelCredentials.create();
    if (tls != null) {
      credentials = tls.credentials();
    } else if (target.saysTls()) {
      credentials = Tls.create().credentials();
    }
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilderForAddress(target.host(), target.port(), credentials);
    if (target.isSpread()) {
      builder.defaultLoadBalancingPolicy("round_robin");
    }
    if (target.isLoopback()) {
      // A remote proxy cannot reach this machine.
      builder.proxyDetector(address -> null);
    }
    return builder;
  }

  private static ManagedChannelBuilder<?> socket(Target target, Tls tls) {
    if (tls != null) {
      throw new IllegalArgumentException(
          "TLS over a socket of the machine is not to be had from grpc-java: leave tls out, or"
              + " give a channel of your own");
    }
    try {
      return Grpc.newChannelBuilder(target.toString(), InsecureChannelCredentials.create())
          // The path is not a valid authority.
          .overrideAuthority("localhost");
    } catch (ManagedChannelProvider.ProviderNotFoundException e) {
      throw new IllegalArgumentException(
          "the target \"" + target + "\" needs grpc-netty-shaded on Linux: its native part is not"
              + " there",
          e);
    }
  }
}
