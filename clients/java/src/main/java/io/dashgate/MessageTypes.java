package io.dashgate;

import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import java.util.stream.Collectors;

/**
 * Finds what in a JSON text is not of the types of a message. Unlike the errors of the protobuf
 * library, those of this class have the place, and quote no value.
 */
final class MessageTypes {
  private MessageTypes() {}

  /** Throws an error with the place of the first value that is found to be of another type. */
  static void check(Descriptor message, JsonNode value) {
    for (String key : value.keys()) {
      if (message.getFields().stream().noneMatch(field -> isNamed(field, key))) {
        throw value
            .at(key)
            .error(
                "is not known; known are "
                    + message.getFields().stream()
                        .map(FieldDescriptor::getJsonName)
                        .collect(Collectors.joining(", ")));
      }
    }
    for (FieldDescriptor field : message.getFields()) {
      value.get(field.getJsonName()).ifPresent(found -> check(field, found));
      value.get(field.getName()).ifPresent(found -> check(field, found));
    }
  }

  private static boolean isNamed(FieldDescriptor field, String key) {
    return field.getJsonName().equals(key) || field.getName().equals(key);
  }

  private static void check(FieldDescriptor field, JsonNode value) {
    if (field.isMapField()) {
      FieldDescriptor item = field.getMessageType().findFieldByName("value");
      value.keys().forEach(key -> single(item, value.at(key)));
    } else if (field.isRepeated()) {
      value.items().forEach(item -> single(field, item));
    } else {
      single(field, value);
    }
  }

  private static void single(FieldDescriptor field, JsonNode value) {
    switch (field.getJavaType()) {
      case MESSAGE:
        if (!MessageSchema.isWellKnown(field.getMessageType())) {
          check(field.getMessageType(), value);
        }
        break;
      case INT:
      case LONG:
        require(value, value.isInteger() || value.isText(), "must be an integer");
        break;
      case FLOAT:
      case DOUBLE:
        require(value, value.isNumber() || value.isText(), "must be a number");
        break;
      case BOOLEAN:
        require(value, value.isBoolean() || value.isText(), "must be true or false");
        break;
      case ENUM:
        require(value, isOneOf(field, value), "must be one of " + names(field));
        break;
      default:
        value.text();
        break;
    }
  }

  private static boolean isOneOf(FieldDescriptor field, JsonNode value) {
    return value.isNumber()
        || value.isText() && field.getEnumType().findValueByName(value.text()) != null;
  }

  private static String names(FieldDescriptor field) {
    return field.getEnumType().getValues().stream()
        .map(EnumValueDescriptor::getName)
        .collect(Collectors.joining(", "));
  }

  private static void require(JsonNode value, boolean isTrue, String what) {
    if (!isTrue) {
      throw value.error(what);
    }
  }
}
