package io.dashgate;

import com.google.protobuf.FieldMask;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;

/**
 * Model, labels and lifetime of a stored conversation, see {@link
 * DashgateClient#createConversation(String, ConversationSettings)}. Immutable: each method returns
 * a copy. What is not set has the default of the gateway or, in an update, does not change.
 */
public final class ConversationSettings {
  private static final ConversationSettings NONE = new ConversationSettings(null, null, null);

  private final String model;
  private final Map<String, String> labels;
  private final Duration ttl;

  private ConversationSettings(String model, Map<String, String> labels, Duration ttl) {
    this.model = model;
    this.labels = labels;
    this.ttl = ttl;
  }

  /**
   * Creates settings without any.
   *
   * @return the settings
   */
  public static ConversationSettings create() {
    return NONE;
  }

  /**
   * Sets the model of calls that name none.
   *
   * @param model for example {@code qwen3.6-plus}
   * @return these settings with the model
   */
  public ConversationSettings model(String model) {
    return new ConversationSettings(Objects.requireNonNull(model, "model"), labels, ttl);
  }

  /**
   * Sets the labels, which the gateway does not interpret.
   *
   * @param labels all labels: at most 32
   * @return these settings with the labels
   */
  public ConversationSettings labels(Map<String, String> labels) {
    return new ConversationSettings(model, Map.copyOf(labels), ttl);
  }

  /**
   * Sets how long the conversation is kept after its latest turn or update.
   *
   * @param ttl from 1 second to 10 years
   * @return these settings with the time
   */
  public ConversationSettings ttl(Duration ttl) {
    return new ConversationSettings(model, labels, Checks.positive(ttl, "ttl"));
  }

  /** Returns the conversation with what is set. */
  io.dashgate.v1.Conversation.Builder conversation() {
    io.dashgate.v1.Conversation.Builder raw = io.dashgate.v1.Conversation.newBuilder();
    if (model != null) {
      raw.setModel(model);
    }
    if (labels != null) {
      raw.putAllLabels(labels);
    }
    if (ttl != null) {
      raw.setTtl(
          com.google.protobuf.Duration.newBuilder()
              .setSeconds(ttl.getSeconds())
              .setNanos(ttl.getNano()));
    }
    return raw;
  }

  /** Returns the names of the fields that are set. */
  FieldMask mask() {
    FieldMask.Builder mask = FieldMask.newBuilder();
    if (model != null) {
      mask.addPaths("model");
    }
    if (labels != null) {
      mask.addPaths("labels");
    }
    if (ttl != null) {
      mask.addPaths("ttl");
    }
    return mask.build();
  }

  @Override
  public String toString() {
    return "ConversationSettings{model=" + model + ", labels=" + labels + ", ttl=" + ttl + "}";
  }
}
