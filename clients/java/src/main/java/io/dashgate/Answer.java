package io.dashgate;

import com.google.protobuf.ByteString;
import io.dashgate.v1.Choice;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseResponse;
import io.dashgate.v1.FinishReason;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.Timing;
import io.dashgate.v1.ToolCall;
import io.dashgate.v1.Usage;
import io.dashgate.v1.Warning;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;

/**
 * A whole answer: what {@link DashgateClient#converse} gives, and what the events of a stream add
 * up to. Where a model gave several answers, these are of the first, and {@link #choices} has all.
 */
public final class Answer {
  private static final Choice NOTHING =
      Choice.newBuilder().setMessage(Message.newBuilder().setRole(Role.ROLE_ASSISTANT)).build();

  private final ConverseResponse raw;
  private final Choice first;

  private Answer(ConverseResponse raw) {
    this.raw = raw;
    this.first =
        raw.getChoicesList().stream()
            .filter(choice -> choice.getIndex() == 0)
            .findFirst()
            .orElse(NOTHING);
  }

  /**
   * Makes an answer of the message.
   *
   * @param raw the message, for example from a stub
   * @return the answer
   */
  public static Answer of(ConverseResponse raw) {
    return new Answer(Objects.requireNonNull(raw, "raw"));
  }

  /**
   * What was said.
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
   * The reasoning of the answer.
   *
   * @return the thoughts, empty if there are none
   */
  public String reasoningText() {
    return message().getReasoningText();
  }

  /**
   * The answer as a message, to be appended to the conversation.
   *
   * @return the message, to be appended
   */
  public Message message() {
    return first.getMessage();
  }

  /**
   * What the model wants to be called.
   *
   * @return the calls, in order
   */
  public List<ToolCall> toolCalls() {
    return message().getToolCallsList();
  }

  /**
   * The answer's audio: 16-bit little-endian mono PCM at 24 kHz, unless the call's options say
   * otherwise.
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
   * Why the answer ended.
   *
   * @return the reason; {@link FinishReason#UNRECOGNIZED} if it is newer than this client
   */
  public FinishReason finishReason() {
    return first.getFinishReason();
  }

  /**
   * Why the answer ended, in DashScope's word.
   *
   * @return for example {@code stop}
   */
  public String rawFinishReason() {
    return first.getRawFinishReason();
  }

  /**
   * What the call used.
   *
   * @return the counts; those that were not reported are not set
   */
  public Usage usage() {
    return raw.getUsage();
  }

  /**
   * What the caller should know about the answer, for example that audio was cut.
   *
   * @return the warnings; usually none
   */
  public List<Warning> warnings() {
    return raw.getWarningsList();
  }

  /**
   * The request id, as in the gateway's log.
   *
   * @return the name that was sent
   */
  public String requestId() {
    return raw.getRequestId();
  }

  /**
   * DashScope's request id, for its support.
   *
   * @return the name
   */
  public String upstreamRequestId() {
    return raw.getUpstreamRequestId();
  }

  /**
   * The model that answered.
   *
   * @return its name, after the operator's mapping
   */
  public String model() {
    return raw.getModel();
  }

  /**
   * How long it took.
   *
   * @return the times, as the gateway saw them
   */
  public Timing timing() {
    return raw.getTiming();
  }

  /**
   * All answers: more than one if {@code options.n} asked for more.
   *
   * @return the choices
   */
  public List<Choice> choices() {
    return raw.getChoicesList();
  }

  /**
   * The message itself.
   *
   * @return the message; a stream's is put together from its events
   */
  public ConverseResponse raw() {
    return raw;
  }

  @Override
  public String toString() {
    return "Answer{requestId=" + requestId() + ", model=" + model() + ", finishReason="
        + rawFinishReason() + ", text=" + text().length() + " characters}";
  }
}
