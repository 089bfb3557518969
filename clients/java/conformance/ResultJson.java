import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import io.dashgate.Answer;
import io.dashgate.DashgateException;
import io.dashgate.v1.ErrorReason;
import io.dashgate.v1.FinishReason;
import java.io.IOException;
import java.util.Map;
import java.util.zip.CRC32;

/** Writes answers and errors as JSON, for the result. */
final class ResultJson {
  private ResultJson() {}

  static JsonObject answer(Answer answer) throws IOException {
    JsonObject object = new JsonObject();
    object.addProperty("text", answer.text());
    object.addProperty("reasoning_text", answer.reasoningText());
    if (answer.finishReason() == FinishReason.UNRECOGNIZED) {
      object.addProperty("finish_reason", answer.choices().get(0).getFinishReasonValue());
    } else {
      object.addProperty("finish_reason", answer.finishReason().name());
    }
    object.addProperty("raw_finish_reason", answer.rawFinishReason());
    byte[] audio = answer.audio();
    CRC32 crc = new CRC32();
    crc.update(audio);
    object.addProperty("audio_bytes", audio.length);
    object.addProperty("audio_crc32", crc.getValue());
    JsonArray calls = new JsonArray();
    for (MessageOrBuilder call : answer.toolCalls()) {
      calls.add(json(call));
    }
    object.add("tool_calls", calls);
    object.addProperty("request_id", answer.requestId());
    object.addProperty("upstream_request_id", answer.upstreamRequestId());
    object.addProperty("model", answer.model());
    object.add("usage", json(answer.usage()));
    object.add("message", json(answer.message()));
    object.add("raw", json(answer.raw()));
    object.add("headers", texts(answer.headers()));
    return object;
  }

  private static JsonObject texts(Map<String, String> headers) {
    JsonObject object = new JsonObject();
    headers.forEach(object::addProperty);
    return object;
  }

  static JsonObject error(DashgateException error) throws IOException {
    JsonObject object = new JsonObject();
    object.addProperty("code", error.code().name());
    if (error.reason() != ErrorReason.UNRECOGNIZED
        && error.reason() != ErrorReason.ERROR_REASON_UNSPECIFIED) {
      object.addProperty("reason", error.reason().name());
    }
    add(object, "raw_reason", error.rawReason());
    object.addProperty("output_started", error.outputStarted());
    object.addProperty("retryable", error.retryable());
    object.add("headers", texts(error.headers()));
    if (error.usage().isPresent()) {
      object.add("usage", json(error.usage().get()));
    }
    add(object, "model", error.model());
    add(object, "message", error.getMessage());
    add(object, "upstream_code", error.upstreamCode());
    error.upstreamHttpStatus().ifPresent(it -> object.addProperty("upstream_http_status", it));
    add(object, "upstream_request_id", error.upstreamRequestId());
    add(object, "request_id", error.requestId());
    error.attempts().ifPresent(it -> object.addProperty("attempts", it));
    error.retryAfter().ifPresent(it -> object.addProperty("retry_after_ms", it.toMillis()));
    if (!error.fieldViolations().isEmpty()) {
      JsonArray violations = new JsonArray();
      error
          .fieldViolations()
          .forEach(
              violation -> {
                JsonObject entry = new JsonObject();
                entry.addProperty("field", violation.getField());
                entry.addProperty("description", violation.getDescription());
                violations.add(entry);
              });
      object.add("field_violations", violations);
    }
    return object;
  }

  private static void add(JsonObject object, String name, String value) {
    if (!value.isEmpty()) {
      object.addProperty(name, value);
    }
  }

  static JsonElement json(MessageOrBuilder message) throws InvalidProtocolBufferException {
    return JsonParser.parseString(JsonFormat.printer().print(message));
  }
}
