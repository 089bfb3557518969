import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.protobuf.util.JsonFormat;
import io.dashgate.CallSettings;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateClientBuilder;
import io.dashgate.Tls;
import io.dashgate.v1.GenerationOptions;
import io.dashgate.v1.HistoryPolicy;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;

/** Reads what a job says: the client, a conversation, the settings of a call. */
final class Job {
  private Job() {}

  static DashgateClientBuilder client(JsonObject job) {
    DashgateClientBuilder builder = DashgateClient.builder();
    builder.target(job.get("target").getAsString());
    JsonObject options =
        job.has("options") ? job.getAsJsonObject("options") : new JsonObject();
    known(options, "api_key", "tls", "timeout_ms", "idle_timeout_ms", "metadata", "max_retries");
    if (options.has("api_key")) {
      builder.apiKey(options.get("api_key").getAsString());
    }
    if (options.has("tls")) {
      builder.tls(tls(options.getAsJsonObject("tls")));
    }
    if (options.has("timeout_ms")) {
      builder.timeout(Duration.ofMillis(options.get("timeout_ms").getAsLong()));
    }
    if (options.has("idle_timeout_ms")) {
      builder.idleTimeout(Duration.ofMillis(options.get("idle_timeout_ms").getAsLong()));
    }
    if (options.has("max_retries")) {
      builder.maxRetries(options.get("max_retries").getAsInt());
    }
    if (options.has("metadata")) {
      for (Map.Entry<String, JsonElement> entry :
          options.getAsJsonObject("metadata").entrySet()) {
        builder.metadata(entry.getKey(), entry.getValue().getAsString());
      }
    }
    return builder;
  }

  private static Tls tls(JsonObject options) {
    known(options, "ca_file", "cert_file", "key_file", "server_name");
    Tls tls = Tls.create();
    if (options.has("ca_file")) {
      tls = tls.certificateAuthority(Path.of(options.get("ca_file").getAsString()));
    }
    if (options.has("cert_file")) {
      tls =
          tls.clientCertificate(
              Path.of(options.get("cert_file").getAsString()),
              Path.of(options.get("key_file").getAsString()));
    }
    if (options.has("server_name")) {
      tls = tls.serverName(options.get("server_name").getAsString());
    }
    return tls;
  }

  static void knownCall(JsonObject call) {
    known(
        call, "do", "conversation", "options", "request_id", "resume", "timeout_ms", "metadata",
        "cancel", "max_retries", "expected_turn", "history");
  }

  static void knownSession(JsonObject call) {
    known(call, "do", "setup", "steps", "timeout_ms", "metadata");
  }

  static Conversation conversation(JsonObject call) throws IOException {
    io.dashgate.v1.Conversation.Builder raw = io.dashgate.v1.Conversation.newBuilder();
    JsonFormat.parser().merge(call.get("conversation").toString(), raw);
    return Conversation.of(raw.build());
  }

  static CallSettings settings(JsonObject call) throws IOException {
    CallSettings settings = CallSettings.create();
    if (call.has("options")) {
      GenerationOptions.Builder options = GenerationOptions.newBuilder();
      JsonFormat.parser().merge(call.get("options").toString(), options);
      settings = settings.options(options.build());
    }
    if (call.has("request_id")) {
      settings = settings.requestId(call.get("request_id").getAsString());
    }
    if (call.has("resume")) {
      settings = settings.resume(call.get("resume").getAsBoolean());
    }
    if (call.has("max_retries")) {
      settings = settings.maxRetries(call.get("max_retries").getAsInt());
    }
    if (call.has("expected_turn")) {
      settings = settings.expectedTurn(call.get("expected_turn").getAsInt());
    }
    if (call.has("history")) {
      HistoryPolicy.Builder history = HistoryPolicy.newBuilder();
      JsonFormat.parser().merge(call.get("history").toString(), history);
      settings = settings.history(history.build());
    }
    if (call.has("timeout_ms")) {
      settings = settings.timeout(Duration.ofMillis(call.get("timeout_ms").getAsLong()));
    }
    if (call.has("metadata")) {
      for (Map.Entry<String, JsonElement> entry : call.getAsJsonObject("metadata").entrySet()) {
        settings = settings.metadata(entry.getKey(), entry.getValue().getAsString());
      }
    }
    return settings;
  }

  static String text(JsonObject object, String key) {
    return object.has(key) ? object.get(key).getAsString() : "";
  }

  static void known(JsonObject object, String... keys) {
    Set<String> known = Set.copyOf(Arrays.asList(keys));
    for (String key : object.keySet()) {
      if (!known.contains(key)) {
        throw new IllegalArgumentException("unknown key \"" + key + "\"; known are " + known);
      }
    }
  }

  static boolean flag(JsonObject object, String key) {
    return object.has(key) && object.get(key).getAsBoolean();
  }
}
