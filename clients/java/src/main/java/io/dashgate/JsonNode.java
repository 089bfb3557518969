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
import java.util.Set;

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
    return new JsonNode(place, Json.value(place, text));
  }

  /** Returns the root of values of Java: maps, collections, texts, numbers, booleans and null. */
  static JsonNode of(String place, Object value) {
    return new JsonNode(place, value(place, value, 0));
  }

  /** Returns the JSON text. */
  String json() {
    return Json.write(value);
  }

  boolean isText() {
    return value.hasStringValue();
  }

  boolean isNumber() {
    return value.hasNumberValue();
  }

  boolean isInteger() {
    return isNumber() && Math.rint(value.getNumberValue()) == value.getNumberValue();
  }

  boolean isBoolean() {
    return value.hasBoolValue();
  }

  boolean isList() {
    return value.hasListValue();
  }

  /** Returns the text that this must be. */
  String text() {
    if (!isText()) {
      throw error("must be a text");
    }
    String text = value.getStringValue();
    if (text.codePoints().anyMatch(JsonNode::isSurrogate)) {
      throw error("has a surrogate without its pair");
    }
    return text;
  }

  /** Returns the integer of 0 or more that this must be. */
  int index() {
    double number = value.getNumberValue();
    if (!isInteger() || number < 0 || number > Integer.MAX_VALUE) {
      throw error("must be an integer of 0 or more");
    }
    return (int) number;
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
        throw at(field.getKey())
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
        : Optional.of(at(key));
  }

  /** Returns a value that this object must have. */
  JsonNode need(String key) {
    return get(key)
        .orElseThrow(() -> new IllegalArgumentException(place + "." + key + ": is missing"));
  }

  /** Returns the keys of this object. */
  Set<String> keys() {
    return fields().keySet();
  }

  /** Returns the value of a key that this object has. */
  JsonNode at(String key) {
    return new JsonNode(inside(place, key), fields().get(key));
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

  private static boolean isSurrogate(int codePoint) {
    return codePoint >= Character.MIN_SURROGATE && codePoint <= Character.MAX_SURROGATE;
  }

  /** The place of a key, which comes from elsewhere. */
  private static String inside(String place, String key) {
    return place + "." + CallLog.foreign(key);
  }

  private static void put(
      String place, Object key, Object item, int depth, Struct.Builder fields) {
    if (!(key instanceof CharSequence)) {
      throw new IllegalArgumentException(place + ": has a key that is no text");
    }
    String name = key.toString();
    fields.putFields(name, value(inside(place, name), item, depth));
  }

  private static Value value(String place, Object value, int depth) {
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
    if (depth == JsonText.MAX_DEPTH) {
      // Perhaps it is in itself.
      throw new IllegalArgumentException(
          place.split("[.\\[]", 2)[0] + ": has a value in more than " + depth + " others");
    }
    if (value instanceof Collection) {
      ListValue.Builder list = ListValue.newBuilder();
      for (Object item : (Collection<?>) value) {
        list.addValues(value(place + "[" + list.getValuesCount() + "]", item, depth + 1));
      }
      return built.setListValue(list).build();
    }
    if (value instanceof Map) {
      Struct.Builder fields = Struct.newBuilder();
      ((Map<?, ?>) value).forEach((key, item) -> put(place, key, item, depth + 1, fields));
      return built.setStructValue(fields).build();
    }
    throw new IllegalArgumentException(
        place + ": " + value.getClass().getName() + " is no value of JSON");
  }
}
