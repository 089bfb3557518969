package io.dashgate;

import io.dashgate.v1.ConversationServiceGrpc;
import java.util.List;
import java.util.Map;

/**
 * When a call is made again: {@code clients/service-config.json}, in the form that grpc-java takes.
 * A test holds both equal.
 */
final class ServiceConfig {
  static final Map<String, ?> CONTENT =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name",
                  List.of(Map.of("service", ConversationServiceGrpc.SERVICE_NAME)),
                  "retryPolicy",
                  Map.of(
                      "maxAttempts", 4.0,
                      "initialBackoff", "0.5s",
                      "maxBackoff", "10s",
                      "backoffMultiplier", 2.0,
                      "retryableStatusCodes", List.of("UNAVAILABLE")))),
          "retryThrottling",
          Map.of("maxTokens", 10.0, "tokenRatio", 0.1));

  private ServiceConfig() {}
}
