package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ModelServiceGrpc;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Compares tables of this library with the files that all clients share. */
class TablesTest {
  @Test
  void retryPolicyIsTheSharedOne() throws IOException {
    JsonObject shared = SharedFiles.json("clients/service-config.json");
    JsonObject method = shared.getAsJsonArray("methodConfig").get(0).getAsJsonObject();
    JsonObject policy = method.getAsJsonObject("retryPolicy");
    assertEquals(1, shared.getAsJsonArray("methodConfig").size());
    assertEquals(
        "[{\"service\":\""
            + ConversationServiceGrpc.SERVICE_NAME
            + "\"},{\"service\":\""
            + ModelServiceGrpc.SERVICE_NAME
            + "\"}]",
        method.get("name").toString());
    assertEquals(policy.get("maxAttempts").getAsInt(), RetryPolicy.MAX_ATTEMPTS);
    assertEquals(seconds(policy.get("initialBackoff")), RetryPolicy.INITIAL_BACKOFF);
    assertEquals(seconds(policy.get("maxBackoff")), RetryPolicy.MAX_BACKOFF);
    assertEquals(policy.get("backoffMultiplier").getAsDouble(), RetryPolicy.BACKOFF_MULTIPLIER);
    assertEquals(
        "[\"" + RetryPolicy.RETRYABLE + "\"]", policy.get("retryableStatusCodes").toString());
    JsonObject throttling = shared.getAsJsonObject("retryThrottling");
    assertEquals(throttling.get("maxTokens").getAsDouble(), RetryPolicy.MAX_TOKENS);
    assertEquals(throttling.get("tokenRatio").getAsDouble(), RetryPolicy.TOKEN_RATIO);
  }

  private static Duration seconds(JsonElement text) {
    return Duration.parse("PT" + text.getAsString());
  }

  @Test
  void sniffingIsTheSharedOne() throws IOException {
    JsonObject shared = SharedFiles.json("tests/conformance/sniffing.json");
    List<String> expected = new ArrayList<>();
    for (JsonElement element : shared.getAsJsonArray("rules")) {
      JsonObject rule = element.getAsJsonObject();
      expected.add(rule.get("match").getAsString() + " is " + rule.get("types").getAsString());
    }
    List<String> actual = new ArrayList<>();
    MimeTypes.RULES.forEach(rule -> actual.add(rule.match + " is " + rule.types));
    assertEquals(expected, actual);
    Map<String, String> extensions = new HashMap<>();
    shared
        .getAsJsonObject("extensions")
        .entrySet()
        .forEach(it -> extensions.put(it.getKey(), it.getValue().getAsString()));
    assertEquals(extensions, MimeTypes.EXTENSIONS);
  }

  @Test
  void everySampleOfTheSniffingTableIsTold() throws IOException {
    JsonObject shared = SharedFiles.json("tests/conformance/sniffing.json");
    for (JsonElement element : shared.getAsJsonArray("samples")) {
      JsonObject sample = element.getAsJsonObject();
      String digits = sample.get("head").getAsString();
      byte[] head = new byte[digits.length() / 2];
      for (int at = 0; at < head.length; at++) {
        head[at] = (byte) Integer.parseInt(digits.substring(2 * at, 2 * at + 2), 16);
      }
      String name = sample.get("name").getAsString();
      String found = MimeTypes.of(head, name, sample.get("kind").getAsString());
      assertEquals(sample.get("mime_type").getAsString(), found, sample.toString());
    }
  }

  @Test
  void versionIsThePackages() {
    assertEquals(System.getProperty("project.version"), Version.NUMBER);
  }
}
