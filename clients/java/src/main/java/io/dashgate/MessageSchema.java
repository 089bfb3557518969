package io.dashgate;

import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.EnumDescriptor;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * The JSON Schema of the JSON form of a message. All fields are required that are not {@code
 * optional} and not in a {@code oneof}, because a model leaves out what it may leave out.
 */
final class MessageSchema {
  private static final String MESSAGES = "#/$defs/";

  /** Messages with a JSON form of their own. */
  private static final Map<String, Map<String, Object>> WELL_KNOWN =
      Map.ofEntries(
          Map.entry("google.protobuf.Timestamp", Map.of("type", "string", "format", "date-time")),
          Map.entry("google.protobuf.Duration", type("string")),
          Map.entry("google.protobuf.FieldMask", type("string")),
          Map.entry("google.protobuf.Struct", type("object")),
          Map.entry("google.protobuf.Any", type("object")),
          Map.entry("google.protobuf.ListValue", type("array")),
          Map.entry("google.protobuf.Value", Map.of()),
          Map.entry("google.protobuf.DoubleValue", type("number")),
          Map.entry("google.protobuf.FloatValue", type("number")),
          Map.entry("google.protobuf.Int64Value", type("integer")),
          Map.entry("google.protobuf.UInt64Value", type("integer")),
          Map.entry("google.protobuf.Int32Value", type("integer")),
          Map.entry("google.protobuf.UInt32Value", type("integer")),
          Map.entry("google.protobuf.BoolValue", type("boolean")),
          Map.entry("google.protobuf.StringValue", type("string")),
          Map.entry("google.protobuf.BytesValue", type("string")));

  /** The schemas of messages in fields, by full name. */
  private final Map<String, Object> messages = new LinkedHashMap<>();

  private MessageSchema() {}

  /** Returns the schema as JSON text. */
  static String of(Descriptor message) {
    MessageSchema all = new MessageSchema();
    Map<String, Object> schema = new LinkedHashMap<>(all.object(message));
    if (!all.messages.isEmpty()) {
      schema.put("$defs", all.messages);
    }
    return JsonNode.of("schema", schema).json();
  }

  /** Checks that a value has the required fields, also those of messages in it. */
  static void check(Descriptor message, JsonNode value) {
    for (FieldDescriptor field : message.getFields()) {
      // The name in the schema file is a valid key, too.
      String key =
          value.get(field.getName()).isPresent() ? field.getName() : field.getJsonName();
      if (isRequired(field)) {
        value.need(key);
      }
      if (isMessage(field)) {
        value.get(key).ifPresent(found -> check(field, found));
      }
    }
  }

  private static void check(FieldDescriptor field, JsonNode value) {
    if (!field.isRepeated()) {
      check(field.getMessageType(), value);
    } else if (!field.isMapField()) {
      value.items().forEach(item -> check(field.getMessageType(), item));
    }
  }

  private Map<String, Object> object(Descriptor message) {
    Map<String, Object> properties = new LinkedHashMap<>();
    List<String> required = new ArrayList<>();
    for (FieldDescriptor field : message.getFields()) {
      properties.put(field.getJsonName(), property(field));
      if (isRequired(field)) {
        required.add(field.getJsonName());
      }
    }
    Map<String, Object> schema = new LinkedHashMap<>(type("object"));
    schema.put("properties", properties);
    schema.put("required", required);
    schema.put("additionalProperties", false);
    return schema;
  }

  private Map<String, Object> property(FieldDescriptor field) {
    if (field.isMapField()) {
      FieldDescriptor value = field.getMessageType().findFieldByName("value");
      return Map.of("type", "object", "additionalProperties", single(value));
    }
    return field.isRepeated() ? Map.of("type", "array", "items", single(field)) : single(field);
  }

  private Map<String, Object> single(FieldDescriptor field) {
    switch (field.getJavaType()) {
      case INT:
      case LONG:
        return type("integer");
      case FLOAT:
      case DOUBLE:
        return type("number");
      case BOOLEAN:
        return type("boolean");
      case ENUM:
        return names(field.getEnumType());
      case MESSAGE:
        return message(field.getMessageType());
      case BYTE_STRING:
        return Map.of("type", "string", "contentEncoding", "base64");
      default:
        return type("string");
    }
  }

  private Map<String, Object> message(Descriptor message) {
    Map<String, Object> known = WELL_KNOWN.get(message.getFullName());
    if (known != null) {
      return known;
    }
    String name = message.getFullName();
    if (!messages.containsKey(name)) {
      // Before its fields, which may have the same type.
      messages.put(name, Map.of());
      messages.put(name, object(message));
    }
    return Map.of("$ref", MESSAGES + name);
  }

  private static Map<String, Object> names(EnumDescriptor type) {
    List<String> names =
        type.getValues().stream().map(EnumValueDescriptor::getName).collect(Collectors.toList());
    return Map.of("type", "string", "enum", names);
  }

  private static boolean isRequired(FieldDescriptor field) {
    boolean isUnset =
        field.hasPresence() && field.getJavaType() != FieldDescriptor.JavaType.MESSAGE;
    // An optional field is in a oneof of its own.
    return field.getContainingOneof() == null && (field.isRequired() || !isUnset);
  }

  private static boolean isMessage(FieldDescriptor field) {
    return field.getJavaType() == FieldDescriptor.JavaType.MESSAGE
        && !isWellKnown(field.getMessageType());
  }

  /** Returns whether a message has a JSON form of its own. */
  static boolean isWellKnown(Descriptor message) {
    return WELL_KNOWN.containsKey(message.getFullName());
  }

  private static Map<String, Object> type(String name) {
    return Map.of("type", name);
  }
}
