package io.dashgate;

import io.grpc.Metadata;
import java.io.Serializable;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;

/** The metadata of a response, as texts. */
final class TextHeaders implements Serializable {
  /** The metadata of what was not received from a server. */
  static final TextHeaders NONE = new TextHeaders(new TreeMap<>());

  private static final long serialVersionUID = 1L;

  /** The texts by name. */
  private final TreeMap<String, String> texts;

  private TextHeaders(TreeMap<String, String> texts) {
    this.texts = texts;
  }

  /** Returns the texts of metadata. Several values of a name are joined, as HTTP does. */
  static TextHeaders of(Metadata metadata) {
    TreeMap<String, String> texts = new TreeMap<>();
    for (String name : metadata.keys()) {
      // A response that is not gRPC has HTTP's own ":status" here, which is no valid name.
      if (!name.endsWith(Metadata.BINARY_HEADER_SUFFIX) && !name.startsWith(":")) {
        Iterable<String> values =
            metadata.getAll(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER));
        texts.put(name, String.join(", ", values));
      }
    }
    return new TextHeaders(texts);
  }

  /** Returns these, which are trailers, with the initial metadata. Trailers take precedence. */
  TextHeaders after(Metadata initial) {
    TreeMap<String, String> all = new TreeMap<>(of(initial).texts);
    all.putAll(texts);
    return new TextHeaders(all);
  }

  Map<String, String> asMap() {
    return Collections.unmodifiableMap(texts);
  }
}
