package io.dashgate;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.ManagedChannelProvider;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/** Makes a {@link DashgateClient}. All may be left out. */
public final class DashgateClientBuilder {
  private static final String TARGET_VARIABLE = "DASHGATE_ADDR";
  private static final String KEY_VARIABLE = "DASHGATE_API_KEY";
  private static final String USER_AGENT = "dashgate-java/" + Version.NUMBER;

  /** The strictest servers allow a ping in 5 minutes. */
  private static final long KEEPALIVE_MINUTES = 6;

  private static final long KEEPALIVE_TIMEOUT_SECONDS = 20;

  private final Metadata metadata = new Metadata();
  private Map<String, String> environment = System.getenv();
  private String target;
  private String apiKey;
  private Tls tls;
  private Channel channel;
  private Duration timeout;
  private Duration idleTimeout = DashgateClient.IDLE_TIMEOUT;

  DashgateClientBuilder() {}

  /**
   * Where the gateway is: {@code host:port}, {@code http://host:port}, {@code https://host:port}
   * (TLS with the system's roots), or {@code unix:/path}.
   *
   * @param target the address; left out, {@code DASHGATE_ADDR}, else {@code 127.0.0.1:50051}
   * @return this
   */
  public DashgateClientBuilder target(String target) {
    this.target = Objects.requireNonNull(target, "target");
    return this;
  }

  /**
   * The key for this gateway. It is sent without TLS too, which is right beside a sidecar.
   *
   * @param apiKey the key; left out, {@code DASHGATE_API_KEY}, else none
   * @return this
   */
  public DashgateClientBuilder apiKey(String apiKey) {
    this.apiKey = Checks.printable(apiKey, "the API key");
    return this;
  }

  /**
   * TLS, whatever the target says.
   *
   * @param tls whom to trust, and who this client is
   * @return this
   */
  public DashgateClientBuilder tls(Tls tls) {
    this.tls = Objects.requireNonNull(tls, "tls");
    return this;
  }

  /**
   * A channel that exists, instead of a target. Its owner closes it, and says how its calls are
   * made again, what its user agent is, and whether it uses TLS.
   *
   * @param channel the channel
   * @return this
   */
  public DashgateClientBuilder channel(Channel channel) {
    this.channel = Objects.requireNonNull(channel, "channel");
    return this;
  }

  /**
   * The deadline of every call. Left out, 10 minutes, and none for a stream.
   *
   * @param timeout more than zero
   * @return this
   */
  public DashgateClientBuilder timeout(Duration timeout) {
    this.timeout = Checks.positive(timeout, "timeout");
    return this;
  }

  /**
   * How long nothing may come on a stream, heartbeats included. Left out, a minute.
   *
   * @param idleTimeout more than zero
   * @return this
   */
  public DashgateClientBuilder idleTimeout(Duration idleTimeout) {
    this.idleTimeout = Checks.positive(idleTimeout, "idleTimeout");
    return this;
  }

  /**
   * One more entry of metadata for every call.
   *
   * @param name lower-case letters, digits, {@code -}, {@code _}, {@code .}
   * @param value printable ASCII
   * @return this
   */
  public DashgateClientBuilder metadata(String name, String value) {
    Checks.put(metadata, name, value);
    return this;
  }

  /** Another environment, for tests. */
  DashgateClientBuilder environment(Map<String, String> environment) {
    this.environment = environment;
    return this;
  }

  /**
   * Makes the client. Nothing is connected yet.
   *
   * @return the client
   */
  public DashgateClient build() {
    String key = apiKey == null ? variable(KEY_VARIABLE) : apiKey;
    if (key != null) {
      Checks.printable(key, "the API key of " + KEY_VARIABLE);
    }
    ManagedChannel owned = null;
    if (channel == null) {
      owned = open();
    } else if (target != null || tls != null) {
      throw new IllegalArgumentException("a channel that exists has its own target and TLS");
    }
    Metadata entries = new Metadata();
    entries.merge(metadata);
    return new DashgateClient(
        owned == null ? channel : owned, owned, entries, key, timeout, idleTimeout);
  }

  private ManagedChannel open() {
    String address = target == null ? variable(TARGET_VARIABLE) : target;
    Target parsed = Target.parse(address == null ? Target.DEFAULT : address);
    if (tls != null && parsed.saysPlaintext()) {
      throw new IllegalArgumentException(
          "TLS is set, but the target \"" + parsed + "\" says http: write https");
    }
    ManagedChannelBuilder<?> builder = parsed.isUnix() ? socket(parsed) : network(parsed);
    if (tls != null && tls.serverName() != null) {
      builder.overrideAuthority(tls.serverName());
    }
    return builder
        .userAgent(USER_AGENT)
        .maxInboundMessageSize(DashgateClient.MAX_ANSWER_BYTES)
        .keepAliveTime(KEEPALIVE_MINUTES, TimeUnit.MINUTES)
        .keepAliveTimeout(KEEPALIVE_TIMEOUT_SECONDS, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(false)
        // Calls are made again by Retries: DNS may not say otherwise.
        .disableServiceConfigLookUp()
        .intercept(new Retries())
        .build();
  }

  private ManagedChannelBuilder<?> network(Target parsed) {
    ChannelCredentials credentials = InsecureChannelCredentials.create();
    if (tls != null) {
      credentials = tls.credentials();
    } else if (parsed.saysTls()) {
      credentials = Tls.create().credentials();
    }
    ManagedChannelBuilder<?> builder =
        Grpc.newChannelBuilderForAddress(parsed.host(), parsed.port(), credentials);
    if (parsed.isSpread()) {
      builder.defaultLoadBalancingPolicy("round_robin");
    }
    if (parsed.isLoopback()) {
      // A proxy elsewhere cannot reach this machine.
      builder.proxyDetector(address -> null);
    }
    return builder;
  }

  private ManagedChannelBuilder<?> socket(Target parsed) {
    if (tls != null) {
      throw new IllegalArgumentException(
          "TLS over a socket of the machine is not to be had from grpc-java: leave tls out, or"
              + " give a channel of your own");
    }
    try {
      return Grpc.newChannelBuilder(parsed.toString(), InsecureChannelCredentials.create())
          // The path is no name of a host, which servers refuse.
          .overrideAuthority("localhost");
    } catch (ManagedChannelProvider.ProviderNotFoundException e) {
      throw new IllegalArgumentException(
          "the target \"" + parsed + "\" needs grpc-netty-shaded on Linux: its native part is not"
              + " there",
          e);
    }
  }

  private String variable(String name) {
    String value = environment.get(name);
    return value == null || value.isEmpty() ? null : value;
  }

  @Override
  public String toString() {
    return "DashgateClientBuilder{target=" + target + ", metadata=" + metadata.keys() + "}";
  }
}
