package io.dashgate;

import io.grpc.Channel;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Consumer;

/** Builds a {@link DashgateClient}. All settings are optional. */
public final class DashgateClientBuilder {
  private static final String TARGET_VARIABLE = "DASHGATE_ADDR";
  private static final String KEY_VARIABLE = "DASHGATE_API_KEY";

  private final Metadata metadata = new Metadata();
  private Map<String, String> environment = System.getenv();
  private String target;
  private String apiKey;
  private Tls tls;
  private Channel channel;
  private Duration timeout;
  private Duration idleTimeout = CallDefaults.IDLE_TIMEOUT;
  private int maxRetries;
  private final List<ClientInterceptor> interceptors = new ArrayList<>();
  private Consumer<ManagedChannelBuilder<?>> channelOptions = builder -> {};
  private boolean hasChannelOptions;
  private int maxConnections = ConnectionPool.MAX_CONNECTIONS;
  private int callsPerConnection = ConnectionPool.CALLS_PER_CONNECTION;

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

  /**
   * Adds interceptors of grpc-java, for example for tracing. They run around each attempt of each
   * call, the first one outermost, and see the metadata of the client.
   *
   * @param more the interceptors
   * @return this
   */
  public DashgateClientBuilder intercept(ClientInterceptor... more) {
    interceptors.addAll(Arrays.asList(more));
    return this;
  }

  /**
   * Sets options of grpc-java for each connection. They are applied after the defaults of this
   * library: they replace single ones and keep the others.
   *
   * @param options receives the builder of each channel, for example {@code builder ->
   *     builder.keepAliveTime(1, TimeUnit.MINUTES)}; several are applied in their order
   * @return this
   */
  public DashgateClientBuilder configureChannel(Consumer<ManagedChannelBuilder<?>> options) {
    channelOptions = channelOptions.andThen(options);
    hasChannelOptions = true;
    return this;
  }

  /** Replaces the environment, for tests. */
  DashgateClientBuilder environment(Map<String, String> environment) {
    this.environment = environment;
    return this;
  }

  /** Replaces the limits of the pool, for tests. */
  DashgateClientBuilder limits(int connections, int calls) {
    maxConnections = connections;
    callsPerConnection = calls;
    return this;
  }

  /**
   * Builds the client. It connects with the first call. The variable {@code DASHGATE_LOG} is {@code
   * off}, {@code info} (a line for each call) or {@code debug} (also retries and connections).
   *
   * @return the client
   */
  public DashgateClient build() {
    String key = apiKey == null ? variable(KEY_VARIABLE) : apiKey;
    if (key != null) {
      Checks.printable(key, "the API key of " + KEY_VARIABLE);
    }
    CallLog.Level level = CallLog.Level.of(variable(CallLog.VARIABLE));
    CallDefaults defaults = new CallDefaults(timeout, idleTimeout, maxRetries);
    Metadata entries = new Metadata();
    entries.merge(metadata);
    if (channel != null) {
      if (target != null || tls != null || !interceptors.isEmpty() || hasChannelOptions) {
        throw new IllegalArgumentException(
            "a channel that exists has its own target, TLS, interceptors and options");
      }
      CallLog log = new CallLog(level, channel.authority());
      Channel used = ClientInterceptors.intercept(channel, new Reach(channel.authority(), false));
      return new DashgateClient(new Calls(used, null, entries, key, defaults, log));
    }
    Target parsed = target();
    CallLog log = new CallLog(level, parsed.toString());
    ConnectionPool owned = open(parsed, log);
    // Around each attempt: retries are outside.
    Channel used =
        ClientInterceptors.intercept(
            ClientInterceptors.interceptForward(owned, List.copyOf(interceptors)),
            new Retries(owned::isClosed));
    return new DashgateClient(new Calls(used, owned, entries, key, defaults, log));
  }

  private ConnectionPool open(Target target, CallLog log) {
    if (tls != null && target.saysPlaintext()) {
      throw new IllegalArgumentException(
          "TLS is set, but the target \"" + target + "\" says http: write https");
    }
    Tls given = tls;
    Consumer<ManagedChannelBuilder<?>> options = channelOptions;
    // Errors of the settings are thrown by the first one.
    return new ConnectionPool(
        () -> Connections.open(target, given, options),
        target.toString(),
        log,
        maxConnections,
        callsPerConnection);
  }

  private Target target() {
    String address = target == null ? variable(TARGET_VARIABLE) : target;
    return Target.parse(address == null ? Target.DEFAULT : address);
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
