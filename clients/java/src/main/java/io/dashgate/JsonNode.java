package io.dashgate;

import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A value in a JSON document, with its place for errors. */
final class JsonNode {
  private final String place;
  private final Value value;

  private JsonNode(String place, Value value) {
    this.place = place;
    this.value = value;
  }

  /** Returns the root of a JSON text. */
  static JsonNode parse(String place, String text) {
    try {
      return new JsonNode(place, Json.read(text, Value.newBuilder()).build());
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(place + ": is no JSON: " + e.getMessage(), e);
    }
  }

  /** Returns the root of values of Java: maps, collections, texts, numbers, booleans and null. */
  static JsonNode of(String place, Object value) {
    return new JsonNode(place, value(place, value));
  }

  /** Returns the JSON text. */
  String json() {
    return Json.write(value);
  }

  boolean isText() {
    return value.hasStringValue();
  }

  boolean isList() {
    return value.hasListValue();
  }

  /** Returns the text that this must be. */
  String text() {
    if (!isText()) {
      throw error("must be a text");
    }
    return value.getStringValue();
  }

  /** Returns the items of the list that this must be. */
  List<JsonNode> items() {
    if (!isList()) {
      throw error("must be a list");
    }
    List<JsonNode> items = new ArrayList<>();
    for (Value item : value.getListValue().getValuesList()) {
      items.add(new JsonNode(place + "[" + items.size() + "]", item));
    }
    return items;
  }

  /** Checks that this is an object with no other keys than these. */
  JsonNode only(String... keys) {
    for (Map.Entry<String, Value> field : fields().entrySet()) {
      // A null is what SDKs write for what is not there.
      if (!field.getValue().hasNullValue() && !Arrays.asList(keys).contains(field.getKey())) {
        throw new JsonNode(place + "." + field.getKey(), field.getValue())
            .error("is not known; known are " + String.join(", ", keys));
      }
    }
    return this;
  }

  /** Returns a value of this object; empty if it is missing or null. */
  Optional<JsonNode> get(String key) {
    Value found = fields().get(key);
    return found == null || found.hasNullValue()
        ? Optional.empty()
        : Optional.of(new JsonNode(place + "." + key, found));
  }

  /** Returns a value that this object must have. */
  JsonNode need(String key) {
    return get(key)
        .orElseThrow(() -> new IllegalArgumentException(place + "." + key + ": is missing"));
  }

  IllegalArgumentException error(String what) {
    return new IllegalArgumentException(place + ": " + what);
  }

  private Map<String, Value> fields() {
    if (!value.hasStructValue()) {
      throw error("must be an object");
    }
    return value.getStructValue().getFieldsMap();
  }

  private static Value value(String place, Object value) {
    Value.Builder built = Value.newBuilder();
    if (value == null) {
      return built.setNullValue(NullValue.NULL_VALUE).build();
    }
    if (value instanceof CharSequence) {
      return built.setStringValue(value.toString()).build();
    }
    if (value instanceof Number) {
      return built.setNumberValue(((Number) value).doubleValue()).build();
    }
    if (value instanceof Boolean) {
      return built.setBoolValue((Boolean) value).build();
    }
    if (value instanceof Collection) {
      ListValue.Builder list = ListValue.newBuilder();
      for (Object item : (Collection<?>) value) {
        list.addValues(value(place + "[" + list.getValuesCount() + "]", item));
      }
      return built.setListValue(list).build();
    }
    if (value instanceof Map) {
      Struct.Builder fields = Struct.newBuilder();
      ((Map<?, ?>) value)
          .forEach(
              (key, item) ->
                  fields.putFields(String.valueOf(key), value(place + "." + key, item)));
      return built.setStructValue(fields).build();
    }
    throw new IllegalArgumentException(
        place + ": " + value.getClass().getName() + " is no value of JSON");
  }
}
