package io.dashgate;

import io.dashgate.v1.Content;
import io.dashgate.v1.Message;
import io.dashgate.v1.Role;
import io.dashgate.v1.Tool;
import io.dashgate.v1.ToolCall;
import io.dashgate.v1.ToolChoice;
import io.dashgate.v1.ToolChoiceMode;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalInt;

/**
 * A conversation: the messages and the tools that the model may call. Each call sends all of it,
 * unless the gateway stores it: then the conversation has a {@link #named name}, and its messages
 * are the new ones only.
 *
 * <p>Methods modify the conversation and return it, for chaining. Not thread-safe while it is
 * modified. A call sends the messages at the time when it is started.
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
   * Creates an empty conversation.
   *
   * @param model the model's name, for example {@code qwen-audio-turbo}
   */
  public Conversation(String model) {
    this(io.dashgate.v1.Conversation.newBuilder().setModel(model));
  }

  /**
   * Creates a conversation with a system message.
   *
   * @param model the model's name, for example {@code qwen-audio-turbo}
   * @param system instructions for the whole conversation
   */
  public Conversation(String model, String system) {
    this(model);
    system(system);
  }

  /**
   * Creates a conversation whose turns the gateway stores, and which it knows, see {@link
   * DashgateClient#createConversation(ConversationSettings)}.
   *
   * @param name {@code conversations/{id}}
   * @return the conversation, with the model that is stored
   */
  public static Conversation named(String name) {
    return named(name, "");
  }

  /**
   * Creates a conversation whose turns the gateway stores, and which it knows, see {@link
   * DashgateClient#createConversation(ConversationSettings)}.
   *
   * @param name {@code conversations/{id}}
   * @param model the model's name; empty for the one that is stored
   * @return the conversation
   */
  public static Conversation named(String name, String model) {
    return new Conversation(
        io.dashgate.v1.Conversation.newBuilder().setName(name).setModel(model));
  }

  /**
   * Creates a conversation from a message, for example of {@link
   * DashgateClient#getConversation(String)}.
   *
   * @param raw the message
   * @return the conversation
   */
  public static Conversation of(io.dashgate.v1.Conversation raw) {
    return new Conversation(Objects.requireNonNull(raw, "raw").toBuilder());
  }

  /**
   * Creates a conversation from messages in the form of OpenAI's chat completions or of
   * DashScope. Bytes in {@code data:} URIs are accepted, files of this machine are not, because
   * messages may come from somewhere else.
   *
   * @param model the model's name
   * @param messages maps with {@code role}, {@code content} and so on
   * @return the conversation
   * @throws IllegalArgumentException with the place of what is unknown, for example {@code
   *     messages[1].content[0].type}
   */
  public static Conversation fromMessages(String model, List<? extends Map<String, ?>> messages) {
    return fromMessages(model, JsonNode.of("messages", messages));
  }

  /**
   * Creates a conversation from messages, as {@link #fromMessages(String, List)}.
   *
   * @param model the model's name
   * @param json a list of messages as JSON text
   * @return the conversation
   * @throws IllegalArgumentException with the place of what is unknown
   */
  public static Conversation fromMessages(String model, String json) {
    return fromMessages(model, JsonNode.parse("messages", json));
  }

  private static Conversation fromMessages(String model, JsonNode messages) {
    Conversation conversation = new Conversation(model);
    MessageList.read(messages).forEach(conversation::append);
    return conversation;
  }

  /**
   * Reads what {@link #toJson} wrote.
   *
   * @param json the JSON form of the schema's {@code Conversation}
   * @return the conversation
   * @throws IllegalArgumentException with the place of what is not of the schema
   */
  public static Conversation fromJson(String json) {
    io.dashgate.v1.Conversation.Builder into = io.dashgate.v1.Conversation.newBuilder();
    return new Conversation(Json.read("conversation", json, into));
  }

  /**
   * Appends a system message: instructions for the whole conversation.
   *
   * @param text the text
   * @return this
   */
  public Conversation system(String text) {
    return add(Role.ROLE_SYSTEM, Contents.text(text));
  }

  /**
   * Appends a user message.
   *
   * @param text the text
   * @return this
   */
  public Conversation user(String text) {
    return user(Contents.text(text));
  }

  /**
   * Appends a user message, for example media and a question.
   *
   * @param content a part, see {@link Contents}
   * @param text the text
   * @return this
   */
  public Conversation user(Content content, String text) {
    return user(content, Contents.text(text));
  }

  /**
   * Appends a user message.
   *
   * @param contents the parts, see {@link Contents}
   * @return this
   */
  public Conversation user(Content... contents) {
    return add(Role.ROLE_USER, contents);
  }

  /**
   * Appends an assistant message, for example as a sample.
   *
   * @param text the text
   * @return this
   */
  public Conversation assistant(String text) {
    return assistant(Contents.text(text));
  }

  /**
   * Appends an assistant message, for example as a sample.
   *
   * @param contents the parts, see {@link Contents}
   * @return this
   */
  public Conversation assistant(Content... contents) {
    return add(Role.ROLE_ASSISTANT, contents);
  }

  /**
   * Appends an answer of the model. If the gateway stores the conversation, it has stored the
   * messages with the answer: they are removed, and {@link #lastTurn} is that of the answer. Tools
   * and tool choice stay.
   *
   * @param answer the answer
   * @return this
   */
  public Conversation append(Answer answer) {
    if (raw.getName().isEmpty()) {
      return append(answer.message());
    }
    raw.clearMessages();
    answer.historyUsed().ifPresent(used -> raw.setLastTurn(used.getTurn()));
    return this;
  }

  /**
   * Appends a message of any role.
   *
   * @param message the message
   * @return this
   */
  public Conversation append(Message message) {
    raw.addMessages(message);
    return this;
  }

  /**
   * Appends the result of a tool call.
   *
   * @param call the call, see {@link Answer#toolCalls}
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
   * Declares tools that the model may call, in addition to those declared before. A declared
   * function of the same name is replaced.
   *
   * @param tools the tools, for example of {@link io.dashgate.Tool#declaration}
   * @return this
   */
  public Conversation tools(Tool... tools) {
    for (Tool tool : tools) {
      declare(tool);
    }
    return this;
  }

  /**
   * Sets whether the model must, may or must not call a tool.
   *
   * @param mode the mode for all tools
   * @return this
   */
  public Conversation toolChoice(ToolChoiceMode mode) {
    raw.setToolChoice(ToolChoice.newBuilder().setMode(mode));
    return this;
  }

  /**
   * Requires the model to call one function.
   *
   * @param functionName its name
   * @return this
   */
  public Conversation toolChoice(String functionName) {
    raw.setToolChoice(ToolChoice.newBuilder().setFunctionName(functionName));
    return this;
  }

  /**
   * Returns the name of a conversation that the gateway stores.
   *
   * @return {@code conversations/{id}}; empty if it is not stored
   */
  public String name() {
    return raw.getName();
  }

  /**
   * Returns the latest turn of a stored conversation that this program knows. A call expects that
   * there is no later one, see {@link CallSettings#expectedTurn}.
   *
   * @return the number of the turn; empty before the first answer
   */
  public OptionalInt lastTurn() {
    return raw.getName().isEmpty() || raw.getLastTurn() == 0
        ? OptionalInt.empty()
        : OptionalInt.of(raw.getLastTurn());
  }

  /**
   * Returns the messages.
   *
   * @return the messages
   */
  public List<Message> messages() {
    return raw().getMessagesList();
  }

  /**
   * Writes the conversation as JSON, with its media.
   *
   * @return the JSON form of the schema's {@code Conversation}
   */
  public String toJson() {
    return Json.write(raw);
  }

  /**
   * Returns the message that is sent.
   *
   * @return the current message
   */
  public io.dashgate.v1.Conversation raw() {
    return raw.build();
  }

  @Override
  public String toString() {
    return "Conversation{model=" + raw.getModel() + ", messages=" + raw.getMessagesCount() + "}";
  }

  private Conversation add(Role role, Content... contents) {
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
