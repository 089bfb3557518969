import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.DynamicMessage;
import io.dashgate.Answer;
import io.dashgate.AnswerStream;
import io.dashgate.CallSettings;
import io.dashgate.Contents;
import io.dashgate.Conversation;
import io.dashgate.ConversationSettings;
import io.dashgate.DashgateClient;
import io.dashgate.DashgateClientBuilder;
import io.dashgate.DashgateException;
import io.dashgate.TypedAnswer;
import io.dashgate.Upload;
import io.dashgate.v1.ConverseStreamResponse;
import io.dashgate.v1.Model;
import io.dashgate.v1.UploadMediaResponse;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/** Runs one job of the conformance suite, with the public methods of the library. */
public final class Runner {
  private static final int RUNNER_FAULT = 2;

  private final JsonObject result = new JsonObject();

  private Runner() {}

  /**
   * Reads the job from standard input, and writes the result to standard output. With
   * {@code lines}, each line is a job, and each result a line, because a virtual machine starts
   * slowly.
   */
  public static void main(String[] args) throws IOException {
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    int code = 0;
    if (args.length > 0 && args[0].equals("lines")) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        out.println(lineOf(line));
        out.flush();
      }
    } else {
      try {
        out.println(resultOf(JsonParser.parseReader(in)));
        out.flush();
      } catch (Exception e) {
        e.printStackTrace();
        code = RUNNER_FAULT;
      }
    }
    System.exit(code);
  }

  private static String resultOf(JsonElement job) throws Exception {
    JsonObject result = new Runner().play(job.getAsJsonObject());
    return new GsonBuilder().serializeNulls().create().toJson(result);
  }

  /** What a process of its own would end with and write, as one line of JSON. */
  private static String lineOf(String job) {
    JsonObject line = new JsonObject();
    try {
      line.addProperty("out", resultOf(JsonParser.parseString(job)));
      line.addProperty("code", 0);
      line.addProperty("err", "");
    } catch (Exception e) {
      StringWriter trace = new StringWriter();
      e.printStackTrace(new PrintWriter(trace));
      line.addProperty("out", "");
      line.addProperty("code", RUNNER_FAULT);
      line.addProperty("err", trace.toString());
    }
    return line.toString();
  }

  private JsonObject play(JsonObject job) throws Exception {
    Job.known(job, "target", "options", "call");
    JsonObject call = job.getAsJsonObject("call");
    DashgateClientBuilder builder = Job.client(job);
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
        new ToolsJob(result, list("tool_calls")).run(client, call);
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
      case "structured":
        structured(client, call);
        break;
      case "messages":
        messages(call);
        break;
      case "stored":
        Job.known(call, "do", "steps");
        new StoredSteps(client, list("stored")).play(call.getAsJsonArray("steps"));
        break;
      case "cancel_call":
        Job.known(call, "do", "request_id");
        client.cancelCall(call.get("request_id").getAsString());
        break;
      case "live":
        Job.knownSession(call);
        new LiveSteps(list("live")).live(client, call, Job.settings(call));
        break;
      case "speak":
        Job.knownSession(call);
        new LiveSteps(list("speech")).speak(client, call, Job.settings(call));
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
    Job.knownCall(call);
    Conversation conversation = Job.conversation(call);
    CallSettings settings = Job.settings(call);
    try (Cancel cancel = new Cancel(call)) {
      Answer answer = cancel.context.call(() -> client.converse(conversation, settings));
      answers().add(ResultJson.answer(answer));
    }
  }

  private void stream(DashgateClient client, JsonObject call) throws Exception {
    Job.knownCall(call);
    JsonArray events = list("events");
    try (Cancel cancel = new Cancel(call);
        AnswerStream stream = cancel.stream(client, call)) {
      try {
        while (stream.hasNext()) {
          ConverseStreamResponse event = stream.next();
          events.add(ResultJson.json(event));
          cancel.count(stream, events.size());
        }
        answers().add(ResultJson.answer(stream.finalAnswer()));
      } catch (DashgateException e) {
        partial(stream);
        throw e;
      }
    }
  }

  private void deltas(DashgateClient client, JsonObject call) throws Exception {
    Job.knownCall(call);
    JsonArray deltas = list("deltas");
    try (Cancel cancel = new Cancel(call);
        AnswerStream stream = cancel.stream(client, call)) {
      try {
        for (String text : stream.textDeltas()) {
          deltas.add(text);
          cancel.count(stream, deltas.size());
        }
        answers().add(ResultJson.answer(stream.finalAnswer()));
      } catch (DashgateException e) {
        partial(stream);
        throw e;
      }
    }
  }

  private void partial(AnswerStream stream) throws IOException {
    if (stream.partial().isPresent()) {
      JsonObject partial = ResultJson.answer(stream.partial().get());
      partial.remove("headers");
      result.add("partial", partial);
    }
  }

  private void dialogue(DashgateClient client, JsonObject call) throws Exception {
    Job.known(call, "do", "model", "system", "name", "turns", "options", "stream");
    Conversation conversation = named(client, call);
    if (call.has("system")) {
      conversation.system(call.get("system").getAsString());
    }
    CallSettings settings = Job.settings(call);
    boolean streamed = Job.flag(call, "stream");
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
      conversation.lastTurn().ifPresent(turn -> result.addProperty("last_turn", turn));
    }
  }

  /** Returns an empty conversation, which is created at the gateway if it has a name. */
  private static Conversation named(DashgateClient client, JsonObject call) {
    String model = call.get("model").getAsString();
    if (!call.has("name")) {
      return new Conversation(model);
    }
    String name = call.get("name").getAsString();
    client.createConversation(
        name.substring("conversations/".length()), ConversationSettings.create().model(model));
    return Conversation.named(name, model);
  }

  private void upload(DashgateClient client, JsonObject call) throws Exception {
    Job.known(
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
    UploadMediaResponse uploaded = client.upload(model, upload, Job.settings(call));
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
    Job.knownCall(call);
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

  private void structured(DashgateClient client, JsonObject call) throws IOException {
    Job.known(call, "do", "model", "question", "repair");
    Conversation conversation = new Conversation(call.get("model").getAsString());
    conversation.user(call.get("question").getAsString());
    TypedAnswer<DynamicMessage> city =
        client.converseAs(
            City.type(), conversation, Job.flag(call, "repair"), CallSettings.create());
    answers().add(ResultJson.answer(city.answer()));
    result.add("value", ResultJson.json(city.value()));
  }

  private void messages(JsonObject call) throws IOException {
    Job.known(call, "do", "model", "messages");
    try {
      Conversation conversation =
          Conversation.fromMessages(
              call.get("model").getAsString(), call.get("messages").toString());
      Conversation copy = Conversation.fromJson(conversation.toJson());
      result.add("conversation", ResultJson.json(copy.raw()));
    } catch (IllegalArgumentException e) {
      JsonObject error = new JsonObject();
      error.addProperty("code", "INVALID_ARGUMENT");
      error.addProperty("message", e.getMessage());
      result.add("error", error);
    }
  }

  private void models(DashgateClient client, JsonObject call) throws Exception {
    Job.known(call, "do", "page_size");
    JsonArray models = list("models");
    int pageSize = call.has("page_size") ? call.get("page_size").getAsInt() : 0;
    for (Model model : client.listModels(pageSize, CallSettings.create())) {
      models.add(ResultJson.json(model));
    }
  }

  private void model(DashgateClient client, JsonObject call) throws Exception {
    Job.known(call, "do", "name");
    list("models").add(ResultJson.json(client.getModel(call.get("name").getAsString())));
  }

  private void sniff(JsonObject call) {
    Job.known(call, "do", "vectors");
    JsonArray types = list("mime_types");
    for (JsonElement vector : call.getAsJsonArray("vectors")) {
      Job.known(vector.getAsJsonObject(), "file");
      Path file = Path.of(vector.getAsJsonObject().get("file").getAsString());
      types.add(Contents.audio(file).getAudio().getMimeType());
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
