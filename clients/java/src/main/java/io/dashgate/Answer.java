package io.dashgate;

import com.google.protobuf.ByteString;
import io.dashgate.v1.Choice;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.FinishReason;
import io.dashgate.v1.HistoryUsed;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.Timing;
import io.dashgate.v1.ToolCall;
import io.dashgate.v1.Usage;
import io.dashgate.v1.Warning;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * The complete answer of a model: the response of a unary call, or the accumulated events of a
 * stream. Methods return values of the first choice; {@link #choices} returns all.
 */
public final class Answer {
  private static final Choice NOTHING =
      Choice.newBuilder().setMessage(Message.newBuilder().setRole(Role.ROLE_ASSISTANT)).build();

  private final ConverseResponse raw;
  private final TextHeaders headers;
  private final Choice first;

  private Answer(ConverseResponse raw, TextHeaders headers) {
    this.raw = raw;
    this.headers = headers;
    this.first =
        raw.getChoicesList().stream()
            .filter(choice -> choice.getIndex() == 0)
            .findFirst()
            .orElse(NOTHING);
  }

  /**
   * Creates an answer from a response.
   *
   * @param raw the response, for example of a stub
   * @return the answer
   */
  public static Answer of(ConverseResponse raw) {
    return of(Objects.requireNonNull(raw, "raw"), TextHeaders.NONE);
  }

  static Answer of(ConverseResponse raw, TextHeaders headers) {
    return new Answer(raw, headers);
  }

  /**
   * Returns the text of the answer, without reasoning.
   *
   * @return the texts, joined
   */
  public String text() {
    return message().getContentList().stream()
        .filter(Content::hasText)
        .map(Content::getText)
        .collect(Collectors.joining());
  }

  /**
   * Returns the reasoning of the answer.
   *
   * @return the reasoning, empty if there is none
   */
  public String reasoningText() {
    return message().getReasoningText();
  }

  /**
   * Returns the answer as a message, for {@link Conversation#append(Message)}.
   *
   * @return the message
   */
  public Message message() {
    return first.getMessage();
  }

  /**
   * Returns the tool calls of the answer.
   *
   * @return the calls, in order
   */
  public List<ToolCall> toolCalls() {
    return message().getToolCallsList();
  }

  /**
   * Returns the audio of the answer: 16-bit little-endian mono PCM at 24 kHz by default. The MIME
   * type of its part names another format.
   *
   * @return the bytes of the audio parts, joined
   */
  public byte[] audio() {
    return message().getContentList().stream()
        .filter(Content::hasAudio)
        .map(part -> part.getAudio().getData())
        .reduce(ByteString.EMPTY, ByteString::concat)
        .toByteArray();
  }

  /**
   * Returns why the answer ended.
   *
   * @return the reason; {@link FinishReason#UNRECOGNIZED} if it is newer than this library
   */
  public FinishReason finishReason() {
    return first.getFinishReason();
  }

  /**
   * Returns the finish reason as received from DashScope.
   *
   * @return for example {@code stop}
   */
  public String rawFinishReason() {
    return first.getRawFinishReason();
  }

  /**
   * Returns the usage of the call, as counted by DashScope.
   *
   * @return the counts; those that were not reported are not set
   */
  public Usage usage() {
    return raw.getUsage();
  }

  /**
   * Returns the warnings, for example that audio was truncated.
   *
   * @return the warnings; usually none
   */
  public List<Warning> warnings() {
    return raw.getWarningsList();
  }

  /**
   * Returns the request id, as in the gateway's log.
   *
   * @return the request id
   */
  public String requestId() {
    return raw.getRequestId();
  }

  /**
   * Returns DashScope's request id, for its support.
   *
   * @return the request id
   */
  public String upstreamRequestId() {
    return raw.getUpstreamRequestId();
  }

  /**
   * Returns the model that answered.
   *
   * @return the model, after the gateway's mapping
   */
  public String model() {
    return raw.getModel();
  }

  /**
   * Returns how long the call took, as measured by the gateway.
   *
   * @return the times
   */
  public Timing timing() {
    return raw.getTiming();
  }

  /**
   * Returns the turn of a stored conversation, and the history that was sent with it.
   *
   * @return the turn; empty if the conversation is not stored
   */
  public Optional<HistoryUsed> historyUsed() {
    return raw.hasHistoryUsed() ? Optional.of(raw.getHistoryUsed()) : Optional.empty();
  }

  /**
   * Returns all choices: more than one if {@code options.n} is above 1.
   *
   * @return the choices
   */
  public List<Choice> choices() {
    return raw.getChoicesList();
  }

  /**
   * Returns the metadata of the response: the initial metadata and the trailers.
   *
   * @return the texts by their names in lower case; binary metadata is left out. Empty if the
   *     answer was created from a message
   */
  public Map<String, String> headers() {
    return headers.asMap();
  }

  /**
   * Returns the response of the schema.
   *
   * @return the response; that of a stream is accumulated from its events
   */
  public ConverseResponse raw() {
    return raw;
  }

  /**
   * Writes the answer as JSON.
   *
   * @return the JSON form of the schema's {@code ConverseResponse}
   */
  public String toJson() {
    return Json.write(raw);
  }

  @Override
  public String toString() {
    return "Answer{requestId=" + requestId() + ", model=" + model() + ", finishReason="
        + rawFinishReason() + ", text=" + text().length() + " characters}";
  }
}
