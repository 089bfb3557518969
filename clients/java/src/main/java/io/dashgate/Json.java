package io.dashgate;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.JsonFormat;

/** Writes and reads the JSON form of messages. */
final class Json {
  private static final JsonFormat.Printer PRINTER =
      JsonFormat.printer().omittingInsignificantWhitespace();

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

  /** Reads a text into a message; fields that the schema does not define are errors. */
  static <B extends Message.Builder> B read(String text, B into) {
    try {
      JsonFormat.parser().merge(text, into);
      return into;
    } catch (InvalidProtocolBufferException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }
}
