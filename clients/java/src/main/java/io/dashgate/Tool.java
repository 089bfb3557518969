package io.dashgate;

import io.dashgate.v1.FunctionTool;
import java.util.Objects;
import java.util.function.Function;

/** A function that the model may call, see {@link DashgateClient#runTools}. */
public final class Tool {
  private final FunctionTool declaration;
  private final Function<String, String> function;

  private Tool(FunctionTool declaration, Function<String, String> function) {
    this.declaration = declaration;
    this.function = function;
  }

  /**
   * Creates a tool.
   *
   * @param name letters, digits, {@code _} and {@code -}, at most 64
   * @param description what it does and when to call it
   * @param parameters the JSON Schema of its arguments, as JSON text; empty if it takes none
   * @param function receives the arguments as JSON text, as written by the model, which may be
   *     invalid, and returns the result. Its exceptions are passed to the caller of {@link
   *     DashgateClient#runTools}
   * @return the tool
   */
  public static Tool of(
      String name, String description, String parameters, Function<String, String> function) {
    FunctionTool declaration =
        FunctionTool.newBuilder()
            .setName(name)
            .setDescription(description)
            .setParameters(parameters)
            .build();
    return new Tool(declaration, Objects.requireNonNull(function, "function"));
  }

  /**
   * Creates a tool whose function takes a value, for example a protobuf message.
   *
   * @param <T> the arguments
   * @param name letters, digits, {@code _} and {@code -}, at most 64
   * @param description what it does and when to call it
   * @param arguments their type, whose schema the model gets. Arguments that are not of the type
   *     are answered with an error, which the model sees, and the function is not run
   * @param function receives the arguments, and returns the result
   * @return the tool
   */
  public static <T> Tool of(
      String name, String description, OutputType<T> arguments, Function<T, String> function) {
    Objects.requireNonNull(function, "function");
    return of(
        name,
        description,
        arguments.schema(),
        text ->
            arguments.parse(
                text, function, error -> Json.error("the arguments are invalid: " + error)));
  }

  /**
   * Returns the name.
   *
   * @return the name
   */
  public String name() {
    return declaration.getName();
  }

  /**
   * Returns the declaration for the model.
   *
   * @return the message, for {@link Conversation#tools(io.dashgate.v1.Tool...)}
   */
  public io.dashgate.v1.Tool declaration() {
    return io.dashgate.v1.Tool.newBuilder().setFunction(declaration).build();
  }

  String call(String arguments) {
    return function.apply(arguments);
  }

  @Override
  public String toString() {
    return "Tool{" + name() + "}";
  }
}
