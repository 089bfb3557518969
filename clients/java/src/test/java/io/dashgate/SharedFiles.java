package io.dashgate;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The files that all clients share. */
final class SharedFiles {
  private SharedFiles() {}

  static JsonObject json(String path) throws IOException {
    Path root = Path.of(System.getProperty("project.root"));
    return JsonParser.parseString(Files.readString(root.resolve(path))).getAsJsonObject();
  }
}
