package io.dashgate;

import io.dashgate.v1.Content;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.Tool;
import io.dashgate.v1.ToolCall;
import io.dashgate.v1.ToolChoice;
import io.dashgate.v1.ToolChoiceMode;
import java.util.List;
import java.util.Objects;

/**
 * The messages so far. The caller keeps them: each call sends all of them.
 *
 * <p>It grows by its methods, which give it back, and is not safe for threads that change it at
 * once. A call takes what is there when it is made.
 *
 * <pre>{@code
 * Conversation conversation = new Conversation("qwen-audio-turbo");
 * conversation.user(Contents.audio("sentence.wav"), "What is said in this audio?");
 * conversation.append(client.converse(conversation));
 * }</pre>
 */
public final class Conversation {
  private final io.dashgate.v1.Conversation.Builder raw;

  private Conversation(io.dashgate.v1.Conversation.Builder raw) {
    this.raw = raw;
  }

  /**
   * A conversation that begins.
   *
   * @param model the model's name, for example {@code qwen-audio-turbo}
   */
  public Conversation(String model) {
    this(io.dashgate.v1.Conversation.newBuilder().setModel(model));
  }

  /**
   * A conversation that begins with instructions.
   *
   * @param model the model's name, for example {@code qwen-audio-turbo}
   * @param system instructions for the whole conversation
   */
  public Conversation(String model, String system) {
    this(
        io.dashgate.v1.Conversation.newBuilder()
            .setModel(model)
            .addMessages(
                Message.newBuilder()
                    .setRole(Role.ROLE_SYSTEM)
                    .addContent(Contents.text(system))));
  }

  /**
   * A conversation that goes on from a message, one that was stored perhaps.
   *
   * @param raw the message
   * @return the conversation
   */
  public static Conversation of(io.dashgate.v1.Conversation raw) {
    return new Conversation(Objects.requireNonNull(raw, "raw").toBuilder());
  }

  /**
   * Appends a message of the user.
   *
   * @param text what is said
   * @return this
   */
  public Conversation user(String text) {
    return user(Contents.text(text));
  }

  /**
   * Appends a message of the user: often media and a question about them.
   *
   * @param content what is shown, of {@link Contents}
   * @param text what is said
   * @return this
   */
  public Conversation user(Content content, String text) {
    return user(content, Contents.text(text));
  }

  /**
   * Appends a message of the user.
   *
   * @param contents what is said and shown, of {@link Contents}
   * @return this
   */
  public Conversation user(Content... contents) {
    return turn(Role.ROLE_USER, contents);
  }

  /**
   * Appends a message of the assistant, as an example.
   *
   * @param text what is said
   * @return this
   */
  public Conversation assistant(String text) {
    return assistant(Contents.text(text));
  }

  /**
   * Appends a message of the assistant, as an example.
   *
   * @param contents what is said, of {@link Contents}
   * @return this
   */
  public Conversation assistant(Content... contents) {
    return turn(Role.ROLE_ASSISTANT, contents);
  }

  /**
   * Appends the answer of the model.
   *
   * @param answer the answer
   * @return this
   */
  public Conversation append(Answer answer) {
    return append(answer.message());
  }

  /**
   * Any turn.
   *
   * @param message the message
   * @return this
   */
  public Conversation append(Message message) {
    raw.addMessages(message);
    return this;
  }

  /**
   * What came of a tool that the model called.
   *
   * @param call the call, of {@link Answer#toolCalls}
   * @param text the result
   * @return this
   */
  public Conversation toolResult(ToolCall call, String text) {
    return append(
        Message.newBuilder()
            .setRole(Role.ROLE_TOOL)
            .setToolCallId(call.getId())
            .addContent(Contents.text(text))
            .build());
  }

  /**
   * Tells the model what it may call, beside what was told before. A function of the same name is
   * replaced.
   *
   * @param tools the tools, of {@link io.dashgate.Tool#declaration} for example
   * @return this
   */
  public Conversation tools(Tool... tools) {
    for (Tool tool : tools) {
      declare(tool);
    }
    return this;
  }

  /**
   * Whether the model must, may or must not call a tool.
   *
   * @param mode the choice for all tools alike
   * @return this
   */
  public Conversation toolChoice(ToolChoiceMode mode) {
    raw.setToolChoice(ToolChoice.newBuilder().setMode(mode));
    return this;
  }

  /**
   * The one function that the model must call.
   *
   * @param functionName its name
   * @return this
   */
  public Conversation toolChoice(String functionName) {
    raw.setToolChoice(ToolChoice.newBuilder().setFunctionName(functionName));
    return this;
  }

  /**
   * The messages so far.
   *
   * @return the messages
   */
  public List<Message> messages() {
    return raw().getMessagesList();
  }

  /**
   * The message itself.
   *
   * @return the message as it is now
   */
  public io.dashgate.v1.Conversation raw() {
    return raw.build();
  }

  @Override
  public String toString() {
    return "Conversation{model=" + raw.getModel() + ", messages=" + raw.getMessagesCount() + "}";
  }

  private Conversation turn(Role role, Content... contents) {
    return append(Message.newBuilder().setRole(role).addAllContent(List.of(contents)).build());
  }

  private void declare(Tool tool) {
    for (int at = 0; tool.hasFunction() && at < raw.getToolsCount(); at++) {
      Tool known = raw.getTools(at);
      if (known.hasFunction()
          && known.getFunction().getName().equals(tool.getFunction().getName())) {
        raw.setTools(at, tool);
        return;
      }
    }
    raw.addTools(tool);
  }
}
