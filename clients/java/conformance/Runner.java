import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.util.JsonFormat;
import io.dashgate.Answer;
import io.dashgate.AnswerStream;
import io.dashgate.CallSettings;
import io.dashgate.Contents;
import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateClientBuilder;
import io.dashgate.DashgateException;
import io.dashgate.Tls;
import io.dashgate.Tool;
import io.dashgate.Upload;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.GenerationOptions;
import io.dashgate.v1.Model;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Context;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

/** Runs one job of the conformance suite, with the public methods of the library. */
public final class Runner {
  private static final int RUNNER_FAULT = 2;

  private final JsonObject result = new JsonObject();

  private Runner() {}

  /** Reads the job from standard input, and writes the result to standard output. */
  public static void main(String[] args) {
    int code = 0;
    try {
      JsonObject job =
          JsonParser.parseReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))
              .getAsJsonObject();
      JsonObject result = new Runner().play(job);
      PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
      out.println(new GsonBuilder().serializeNulls().create().toJson(result));
      out.flush();
    } catch (Exception e) {
      e.printStackTrace();
      code = RUNNER_FAULT;
    }
    System.exit(code);
  }

  private JsonObject play(JsonObject job) throws Exception {
    known(job, "target", "options", "call");
    JsonObject call = job.getAsJsonObject("call");
    DashgateClientBuilder builder = client(job);
    long began = System.nanoTime();
    try (DashgateClient client = builder.build()) {
      play(client, call);
    } catch (DashgateException e) {
      result.add("error", ResultJson.error(e));
    }
    result.addProperty("elapsed_ms", TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began));
    return result;
  }

  private void play(DashgateClient client, JsonObject call) throws Exception {
    String what = call.get("do").getAsString();
    switch (what) {
      case "converse":
        converse(client, call);
        break;
      case "stream":
        stream(client, call);
        break;
      case "deltas":
        deltas(client, call);
        break;
      case "dialogue":
        dialogue(client, call);
        break;
      case "tools":
        tools(client, call);
        break;
      case "upload":
        upload(client, call);
        break;
      case "many":
        many(client, call);
        break;
      case "models":
        models(client, call);
        break;
      case "model":
        model(client, call);
        break;
      case "cancel_call":
        known(call, "do", "request_id");
        client.cancelCall(call.get("request_id").getAsString());
        break;
      case "live":
        knownSession(call);
        new LiveSteps(list("live")).live(client, call, settings(call));
        break;
      case "speak":
        knownSession(call);
        new LiveSteps(list("speech")).speak(client, call, settings(call));
        break;
      case "sniff":
        sniff(call);
        break;
      default:
        throw new IllegalArgumentException("there is no call to \"do\": " + what);
    }
  }

  // ---- the calls ----

  private void converse(DashgateClient client, JsonObject call) throws Exception {
    knownCall(call);
    Conversation conversation = conversation(call);
    CallSettings settings = settings(call);
    try (Cancel cancel = new Cancel(call)) {
      Answer answer = cancel.context.call(() -> client.converse(conversation, settings));
      answers().add(ResultJson.answer(answer));
    }
  }

  private void stream(DashgateClient client, JsonObject call) throws Exception {
    knownCall(call);
    JsonArray events = list("events");
    try (Cancel cancel = new Cancel(call);
        AnswerStream stream = cancel.stream(client, call)) {
      while (stream.hasNext()) {
        ConverseStreamResponse event = stream.next();
        events.add(ResultJson.json(event));
        cancel.count(stream, events.size());
      }
      answers().add(ResultJson.answer(stream.finalAnswer()));
    }
  }

  private void deltas(DashgateClient client, JsonObject call) throws Exception {
    knownCall(call);
    JsonArray deltas = list("deltas");
    try (Cancel cancel = new Cancel(call);
        AnswerStream stream = cancel.stream(client, call)) {
      for (String text : stream.textDeltas()) {
        deltas.add(text);
        cancel.count(stream, deltas.size());
      }
      answers().add(ResultJson.answer(stream.finalAnswer()));
    }
  }

  private void dialogue(DashgateClient client, JsonObject call) throws Exception {
    known(call, "do", "model", "system", "turns", "options", "stream");
    String model = call.get("model").getAsString();
    Conversation conversation =
        call.has("system")
            ? new Conversation(model, call.get("system").getAsString())
            : new Conversation(model);
    CallSettings settings = settings(call);
    boolean streamed = call.has("stream") && call.get("stream").getAsBoolean();
    try {
      for (JsonElement turn : call.getAsJsonArray("turns")) {
        conversation.user(ContentSpec.contents(turn.getAsJsonArray(), null));
        Answer answer;
        if (streamed) {
          try (AnswerStream stream = client.stream(conversation, settings)) {
            answer = stream.finalAnswer();
          }
        } else {
          answer = client.converse(conversation, settings);
        }
        answers().add(ResultJson.answer(answer));
        conversation.append(answer);
      }
    } finally {
      result.add("conversation", ResultJson.json(conversation.raw()));
    }
  }

  private void tools(DashgateClient client, JsonObject call) throws Exception {
    known(call, "do", "model", "question", "tools", "results", "max_rounds", "options");
    JsonArray called = list("tool_calls");
    JsonObject results = call.getAsJsonObject("results");
    List<Tool> tools = new ArrayList<>();
    for (JsonElement element : call.getAsJsonArray("tools")) {
      JsonObject tool = element.getAsJsonObject();
      known(tool, "name", "description", "parameters");
      String name = tool.get("name").getAsString();
      tools.add(
          Tool.of(
              name,
              text(tool, "description"),
              text(tool, "parameters"),
              arguments -> {
                JsonObject entry = new JsonObject();
                entry.addProperty("name", name);
                entry.addProperty("arguments", arguments);
                called.add(entry);
                return results.get(name).getAsString();
              }));
    }
    Conversation conversation = new Conversation(call.get("model").getAsString());
    conversation.user(call.get("question").getAsString());
    CallSettings settings = settings(call);
    try {
      Answer answer =
          call.has("max_rounds")
              ? client.runTools(conversation, tools, call.get("max_rounds").getAsInt(), settings)
              : client.runTools(conversation, tools, 8, settings);
      answers().add(ResultJson.answer(answer));
    } finally {
      result.add("conversation", ResultJson.json(conversation.raw()));
    }
  }

  private void upload(DashgateClient client, JsonObject call) throws Exception {
    known(
        call, "do", "model", "file", "mime_type", "name", "then", "request_id", "timeout_ms",
        "metadata");
    String model = call.get("model").getAsString();
    Upload upload = Upload.of(Path.of(call.get("file").getAsString()));
    if (call.has("mime_type")) {
      upload = upload.mimeType(call.get("mime_type").getAsString());
    }
    if (call.has("name")) {
      upload = upload.name(call.get("name").getAsString());
    }
    UploadMediaResponse uploaded = client.upload(model, upload, settings(call));
    list("uploads").add(ResultJson.json(uploaded));
    if (call.has("then")) {
      Conversation conversation = new Conversation(model);
      conversation.user(ContentSpec.contents(call.getAsJsonArray("then"), uploaded.getUri()));
      answers().add(ResultJson.answer(client.converse(conversation)));
    }
  }

  private void many(DashgateClient client, JsonObject call) throws Exception {
    int count = call.get("count").getAsInt();
    call.remove("count");
    knownCall(call);
    ExecutorService threads = Executors.newFixedThreadPool(count);
    try {
      List<Future<Answer>> futures = new ArrayList<>();
      for (int at = 0; at < count; at++) {
        futures.add(
            threads.submit(
                () -> {
                  try (Cancel cancel = new Cancel(call);
                      AnswerStream stream = cancel.stream(client, call)) {
                    for (int seen = 1; stream.hasNext(); seen++) {
                      stream.next();
                      cancel.count(stream, seen);
                    }
                    return stream.finalAnswer();
                  }
                }));
      }
      DashgateException first = null;
      for (Future<Answer> future : futures) {
        try {
          answers().add(ResultJson.answer(future.get()));
        } catch (ExecutionException e) {
          if (!(e.getCause() instanceof DashgateException)) {
            throw e;
          }
          first = first == null ? (DashgateException) e.getCause() : first;
        }
      }
      if (first != null) {
        throw first;
      }
    } finally {
      threads.shutdownNow();
    }
  }

  private void models(DashgateClient client, JsonObject call) throws Exception {
    known(call, "do", "page_size");
    JsonArray models = list("models");
    int pageSize = call.has("page_size") ? call.get("page_size").getAsInt() : 0;
    for (Model model : client.listModels(pageSize, CallSettings.create())) {
      models.add(ResultJson.json(model));
    }
  }

  private void model(DashgateClient client, JsonObject call) throws Exception {
    known(call, "do", "name");
    list("models").add(ResultJson.json(client.getModel(call.get("name").getAsString())));
  }

  private void sniff(JsonObject call) {
    known(call, "do", "vectors");
    JsonArray types = list("mime_types");
    for (JsonElement vector : call.getAsJsonArray("vectors")) {
      known(vector.getAsJsonObject(), "file");
      Path file = Path.of(vector.getAsJsonObject().get("file").getAsString());
      types.add(Contents.audio(file).getAudio().getMimeType());
    }
  }

  /** Cancels a call as the job specifies: by its context, or by closing the stream. */
  private static final class Cancel implements AutoCloseable {
    final Context.CancellableContext context = Context.current().withCancellation();
    private final ScheduledExecutorService clock =
        Executors.newSingleThreadScheduledExecutor(
            task -> {
              Thread thread = new Thread(task);
              thread.setDaemon(true);
              return thread;
            });
    private final int afterEvents;

    Cancel(JsonObject call) {
      JsonObject cancel = call.has("cancel") ? call.getAsJsonObject("cancel") : new JsonObject();
      known(cancel, "after_ms", "after_events");
      afterEvents = cancel.has("after_events") ? cancel.get("after_events").getAsInt() : -1;
      if (cancel.has("after_ms")) {
        long delay = cancel.get("after_ms").getAsLong();
        clock.schedule(() -> context.cancel(null), delay, TimeUnit.MILLISECONDS);
      }
    }

    AnswerStream stream(DashgateClient client, JsonObject call) throws Exception {
      AnswerStream stream =
          context.call(() -> client.stream(conversation(call), settings(call)));
      count(stream, 0);
      return stream;
    }

    void count(AnswerStream stream, int seen) {
      if (seen == afterEvents) {
        stream.close();
        // Reads the buffered events; then the library reports the end of the call.
        stream.finalAnswer();
      }
    }

    @Override
    public void close() {
      clock.shutdownNow();
      context.close();
    }
  }

  // ---- from the job ----

  private static DashgateClientBuilder client(JsonObject job) {
    DashgateClientBuilder builder = DashgateClient.builder();
    builder.target(job.get("target").getAsString());
    JsonObject options =
        job.has("options") ? job.getAsJsonObject("options") : new JsonObject();
    known(options, "api_key", "tls", "timeout_ms", "idle_timeout_ms", "metadata");
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

  private static void knownCall(JsonObject call) {
    known(
        call, "do", "conversation", "options", "request_id", "resume", "timeout_ms", "metadata",
        "cancel");
  }

  private static void knownSession(JsonObject call) {
    known(call, "do", "setup", "steps", "timeout_ms", "metadata");
  }

  private static Conversation conversation(JsonObject call) throws IOException {
    io.dashgate.v1.Conversation.Builder raw = io.dashgate.v1.Conversation.newBuilder();
    JsonFormat.parser().merge(call.get("conversation").toString(), raw);
    return Conversation.of(raw.build());
  }

  private static CallSettings settings(JsonObject call) throws IOException {
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

  // ---- to the result ----

  private JsonArray answers() {
    return list("answers");
  }

  private JsonArray list(String name) {
    if (!result.has(name)) {
      result.add(name, new JsonArray());
    }
    return result.getAsJsonArray(name);
  }
}
