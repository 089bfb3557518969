package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What stands in this library and elsewhere too is the same. */
class TablesTest {
  @Test
  void serviceConfigIsTheSharedOne() throws IOException {
    assertEquals(
        SharedFiles.json("clients/service-config.json"),
        new Gson().toJsonTree(ServiceConfig.CONTENT));
  }

  @Test
  void sniffingIsTheSharedOne() throws IOException {
    JsonObject shared = SharedFiles.json("tests/conformance/sniffing.json");
    List<String> expected = new ArrayList<>();
    for (JsonElement element : shared.getAsJsonArray("magic")) {
      JsonObject magic = element.getAsJsonObject();
      expected.add(magic.get("bytes").getAsString() + magic.get("mime_type").getAsString());
    }
    List<String> actual = new ArrayList<>();
    MimeTypes.MAGIC.forEach(magic -> actual.add(magic.pattern + magic.mimeType));
    assertEquals(expected, actual);
    Map<String, String> extensions = new HashMap<>();
    shared
        .getAsJsonObject("extensions")
        .entrySet()
        .forEach(it -> extensions.put(it.getKey(), it.getValue().getAsString()));
    assertEquals(extensions, MimeTypes.EXTENSIONS);
  }

  @Test
  void versionIsThePackages() {
    assertEquals(System.getProperty("project.version"), Version.NUMBER);
  }
}
