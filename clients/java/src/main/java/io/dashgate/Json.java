package io.dashgate;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Writes and reads the JSON form of messages. */
final class Json {
  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().omittingInsignificantWhitespace();

  private static final Pattern POSITION = Pattern.compile("line [0-9]+ column [0-9]+");

  private Json() {}

  static String write(MessageOrBuilder message) {
    try {
      return PRINTER.print(message);
    } catch (InvalidProtocolBufferException e) {
      // Only for an Any, which the schema does not use.
      throw new IllegalArgumentException(e);
    }
  }

  /** Returns the result of a tool that is an error, for the model. */
  static String error(String what) {
    Value text = Value.newBuilder().setStringValue(what).build();
    return write(Struct.newBuilder().putFields("error", text));
  }

  /**
   * Reads a text into a message; fields that the schema does not define are errors. An error has a
   * place or a position, and no text: neither the words nor the cause of the library are passed on.
   *
   * @param place what the text is, for errors
   */
  static <B extends Message.Builder> B read(String place, String text, B into) {
    JsonText.check(place, text);
    try {
      JsonFormat.parser().merge(text, into);
      return into;
    } catch (InvalidProtocolBufferException e) {
      MessageTypes.check(into.getDescriptorForType(), JsonNode.parse(place, text));
      throw new IllegalArgumentException(
          place + ": is not the JSON form of a " + into.getDescriptorForType().getName());
    }
  }

  /** Reads any JSON. */
  static Value value(String place, String text) {
    Value.Builder value = Value.newBuilder();
    JsonText.check(place, text);
    try {
      JsonFormat.parser().merge(text, value);
      return value.build();
    } catch (InvalidProtocolBufferException e) {
      Matcher position = POSITION.matcher(String.valueOf(e.getMessage()));
      throw new IllegalArgumentException(
          place + ": is no JSON" + (position.find() ? ", see " + position.group() : ""));
    }
  }
}
