package io.dashgate;

import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptors;
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

/** Builds a {@link DashgateClient}. All settings are optional. */
public final class DashgateClientBuilder {
  private static final String TARGET_VARIABLE = "DASHGATE_ADDR";
  private static final String KEY_VARIABLE = "DASHGATE_API_KEY";
  private static final String USER_AGENT = "dashgate-java/" + Version.NUMBER;

  /** The strictest servers allow one ping in 5 minutes. */
  private static final long KEEPALIVE_MINUTES = 6;

  private static final long KEEPALIVE_TIMEOUT_SECONDS = 20;

  private final Metadata metadata = new Metadata();
  private Map<String, String> environment = System.getenv();
  private String target;
  private String apiKey;
  private Tls tls;
  private Channel channel;
  private Duration timeout;
  private Duration idleTimeout = CallDefaults.IDLE_TIMEOUT;
  private int maxRetries;

  DashgateClientBuilder() {}

  /**
   * Sets the address of the gateway: {@code host:port}, {@code http://host:port}, {@code
   * https://host:port} (TLS with the system's root certificates), {@code dns:///host:port} or
   * {@code unix:/path}.
   *
   * @param target the address; default: {@code DASHGATE_ADDR}, then {@code 127.0.0.1:50051}
   * @return this
   */
  public DashgateClientBuilder target(String target) {
    this.target = Objects.requireNonNull(target, "target");
    return this;
  }

  /**
   * Sets the API key. It is also sent without TLS, which is safe only with a local sidecar.
   *
   * @param apiKey the key; default: {@code DASHGATE_API_KEY}
   * @return this
   */
  public DashgateClientBuilder apiKey(String apiKey) {
    this.apiKey = Checks.printable(apiKey, "the API key");
    return this;
  }

  /**
   * Enables TLS for every target.
   *
   * @param tls the certificates
   * @return this
   */
  public DashgateClientBuilder tls(Tls tls) {
    this.tls = Objects.requireNonNull(tls, "tls");
    return this;
  }

  /**
   * Sets an existing channel instead of a target. Its owner closes it; its retries, user agent and
   * TLS are its own.
   *
   * @param channel the channel
   * @return this
   */
  public DashgateClientBuilder channel(Channel channel) {
    this.channel = Objects.requireNonNull(channel, "channel");
    return this;
  }

  /**
   * Sets the deadline of every call. Default: 10 minutes for unary calls and uploads, none for
   * streams.
   *
   * @param timeout more than zero
   * @return this
   */
  public DashgateClientBuilder timeout(Duration timeout) {
    this.timeout = Checks.positive(timeout, "timeout");
    return this;
  }

  /**
   * Sets how long a stream may receive nothing, not even a heartbeat, before it fails. Default: one
   * minute.
   *
   * @param idleTimeout more than zero
   * @return this
   */
  public DashgateClientBuilder idleTimeout(Duration idleTimeout) {
    this.idleTimeout = Checks.positive(idleTimeout, "idleTimeout");
    return this;
  }

  /**
   * Sets how often a call to a model is made again if it was throttled: {@code RESOURCE_EXHAUSTED}
   * with a {@link DashgateException#retryAfter}, before any event. It is made again with the same
   * request id after that time and up to 10 % more, if the deadline is later; otherwise the error
   * is thrown at once. Default: 0.
   *
   * @param maxRetries 0 or more
   * @return this
   */
  public DashgateClientBuilder maxRetries(int maxRetries) {
    this.maxRetries = Checks.notNegative(maxRetries, "maxRetries");
    return this;
  }

  /**
   * Adds a metadata entry to every call.
   *
   * @param name lower-case letters, digits, {@code -}, {@code _}, {@code .}
   * @param value printable ASCII
   * @return this
   */
  public DashgateClientBuilder metadata(String name, String value) {
    Checks.put(metadata, name, value);
    return this;
  }

  /** Replaces the environment, for tests. */
  DashgateClientBuilder environment(Map<String, String> environment) {
    this.environment = environment;
    return this;
  }

  /**
   * Builds the client. It connects with the first call.
   *
   * @return the client
   */
  public DashgateClient build() {
    String key = apiKey == null ? variable(KEY_VARIABLE) : apiKey;
    if (key != null) {
      Checks.printable(key, "the API key of " + KEY_VARIABLE);
    }
    ConnectionPool owned = null;
    if (channel == null) {
      owned = open();
    } else if (target != null || tls != null) {
      throw new IllegalArgumentException("a channel that exists has its own target and TLS");
    }
    Metadata entries = new Metadata();
    entries.merge(metadata);
    Channel used = owned == null ? channel : ClientInterceptors.intercept(owned, new Retries());
    return new DashgateClient(
        new Calls(used, owned, entries, key, new CallDefaults(timeout, idleTimeout, maxRetries)));
  }

  private ConnectionPool open() {
    String address = target == null ? variable(TARGET_VARIABLE) : target;
    Target parsed = Target.parse(address == null ? Target.DEFAULT : address);
    if (tls != null && parsed.saysPlaintext()) {
      throw new IllegalArgumentException(
          "TLS is set, but the target \"" + parsed + "\" says http: write https");
    }
    Tls given = tls;
    // Errors of the settings are thrown by the first one.
    return new ConnectionPool(() -> connection(parsed, given));
  }

  private static ManagedChannel connection(Target parsed, Tls tls) {
    ManagedChannelBuilder<?> builder =
        parsed.isUnix() ? socket(parsed, tls) : network(parsed, tls);
    if (tls != null && tls.serverName() != null) {
      builder.overrideAuthority(tls.serverName());
    }
    return builder
        .userAgent(USER_AGENT)
        .maxInboundMessageSize(Calls.MAX_ANSWER_BYTES)
        .keepAliveTime(KEEPALIVE_MINUTES, TimeUnit.MINUTES)
        .keepAliveTimeout(KEEPALIVE_TIMEOUT_SECONDS, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(false)
        // Retries implements the policy; a service config of DNS must not change it.
        .disableServiceConfigLookUp()
        .build();
  }

  private static ManagedChannelBuilder<?> network(Target parsed, Tls tls) {
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
      // A remote proxy cannot reach this machine.
      builder.proxyDetector(address -> null);
    }
    return builder;
  }

  private static ManagedChannelBuilder<?> socket(Target parsed, Tls tls) {
    if (tls != null) {
      throw new IllegalArgumentException(
          "TLS over a socket of the machine is not to be had from grpc-java: leave tls out, or"
              + " give a channel of your own");
    }
    try {
      return Grpc.newChannelBuilder(parsed.toString(), InsecureChannelCredentials.create())
          // The path is not a valid authority.
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
