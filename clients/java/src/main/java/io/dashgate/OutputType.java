package io.dashgate;

import com.google.protobuf.Message;
import java.util.Objects;
import java.util.function.Function;

/**
 * The type of a structured answer, or of the arguments of a tool: a JSON Schema, and a function
 * that makes a value of a JSON text. See {@link DashgateClient#converseAs}.
 *
 * @param <T> the values
 */
public final class OutputType<T> {
  private final String name;
  private final String schema;
  private final Parser<T> parser;

  private OutputType(String name, String schema, Parser<T> parser) {
    this.name = Objects.requireNonNull(name, "name");
    this.schema = Objects.requireNonNull(schema, "schema");
    this.parser = Objects.requireNonNull(parser, "parser");
  }

  /**
   * Makes a value of a JSON text, for example with Jackson.
   *
   * @param <T> the values
   */
  @FunctionalInterface
  public interface Parser<T> {
    /**
     * Makes a value.
     *
     * @param json the text that the model wrote
     * @return the value
     * @throws Exception if it is not a value of the type; its message can be shown to the model
     */
    T parse(String json) throws Exception;
  }

  /**
   * Creates a type from a schema.
   *
   * @param <T> the values
   * @param name letters, digits, {@code _} and {@code -}
   * @param schema a JSON Schema as JSON text
   * @param parser makes a value, for example {@code text -> mapper.readValue(text, City.class)}
   * @return the type
   */
  public static <T> OutputType<T> of(String name, String schema, Parser<T> parser) {
    return new OutputType<>(name, schema, parser);
  }

  /**
   * Creates a type from a protobuf message. The model must write every field that is neither {@code
   * optional} nor in a {@code oneof}.
   *
   * @param <T> the message
   * @param prototype any message of the type, for example {@code City.getDefaultInstance()}
   * @return the type
   */
  @SuppressWarnings("unchecked") // A builder of the prototype makes messages of its type.
  public static <T extends Message> OutputType<T> of(T prototype) {
    return new OutputType<>(
        prototype.getDescriptorForType().getName(),
        MessageSchema.of(prototype.getDescriptorForType()),
        text -> {
          Message value = Json.read("$", text, prototype.newBuilderForType()).build();
          MessageSchema.check(prototype.getDescriptorForType(), JsonNode.parse("$", text));
          return (T) value;
        });
  }

  /**
   * Returns the name.
   *
   * @return the name
   */
  public String name() {
    return name;
  }

  /**
   * Returns the JSON Schema.
   *
   * @return the schema as JSON text
   */
  public String schema() {
    return schema;
  }

  /** Returns the value of a text, or of its error, in the words of the parser. */
  <R> R parse(String text, Function<T, R> value, Function<String, R> error) {
    T parsed;
    try {
      parsed = parser.parse(text);
    } catch (Exception e) {
      return error.apply(e.getMessage() == null ? e.toString() : e.getMessage());
    }
    return value.apply(parsed);
  }

  @Override
  public String toString() {
    return "OutputType{" + name + "}";
  }
}
