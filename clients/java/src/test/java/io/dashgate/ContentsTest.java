package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.Content;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ContentsTest {
  private static final byte[] PNG = {(byte) 0x89, 'P', 'N', 'G', 13, 10, 26, 10, 0};

  @Test
  void readsAFileAndDoesNotSendItsPath(@TempDir Path folder) throws IOException {
    Path file = Files.write(folder.resolve("wrong.jpg"), PNG);
    for (Content content : List.of(Contents.image(file), Contents.image(file.toString()))) {
      assertEquals("image/png", content.getImage().getMimeType());
      assertEquals(PNG.length, content.getImage().getData().size());
      assertFalse(content.toString().contains("wrong"));
    }
    Path unknown = Files.write(folder.resolve("sound.MP3"), new byte[] {1, 2, 3});
    assertEquals("audio/mpeg", Contents.audio(unknown).getAudio().getMimeType());
    Path bare = Files.write(folder.resolve("wav"), new byte[] {1, 2, 3});
    assertEquals("", Contents.audio(bare).getAudio().getMimeType());
    assertEquals("audio/x", Contents.audio(unknown, "audio/x").getAudio().getMimeType());
  }

  @Test
  void namesTheFileThatIsNotThere() {
    UncheckedIOException fault =
        assertThrows(UncheckedIOException.class, () -> Contents.audio("not/there.wav"));
    assertEquals("cannot read not/there.wav: no such file", fault.getMessage());
  }

  @Test
  void readsTheFileOfAUri(@TempDir Path folder) throws IOException {
    Path file = Files.write(folder.resolve("a b+c.png"), PNG);
    String path = file.toString().replace(" ", "%20");
    for (String uri : List.of("file://" + path, "FILE:" + path, "file://localhost" + path)) {
      assertEquals(PNG.length, Contents.image(uri).getImage().getData().size(), uri);
    }
    IllegalArgumentException fault =
        assertThrows(
            IllegalArgumentException.class, () -> Contents.image("file://elsewhere/a.png"));
    assertEquals(
        "the URI \"file://elsewhere/a.png\" names a file of another machine",
        fault.getMessage());
  }

  @Test
  void readsAStreamToItsEndAndLeavesItOpen() throws IOException {
    boolean[] closed = {false};
    InputStream stream =
        new ByteArrayInputStream(PNG) {
          @Override
          public void close() {
            closed[0] = true;
          }
        };
    Content content = Contents.image(stream);
    assertEquals("image/png", content.getImage().getMimeType());
    assertEquals(PNG.length, content.getImage().getData().size());
    assertEquals(0, stream.available());
    assertFalse(closed[0]);
    InputStream broken =
        new InputStream() {
          @Override
          public int read() throws IOException {
            throw new IOException("the disk is gone");
          }
        };
    UncheckedIOException fault =
        assertThrows(UncheckedIOException.class, () -> Contents.audio(broken));
    assertTrue(fault.getMessage().contains("the disk is gone"), fault::getMessage);
  }

  @Test
  void passesAUriOn() {
    for (String uri :
        List.of("http://a/b.wav", "https://a/b.wav", "oss://a/b.wav", "data:audio/wav;base64,")) {
      assertEquals(uri, Contents.audio(uri).getAudio().getUri());
      assertEquals(uri, Contents.image(uri).getImage().getUri());
      assertEquals(uri, Contents.video(uri).getVideo().getUri());
      assertEquals("", Contents.video(uri).getVideo().getMimeType());
      assertEquals("video/mp4", Contents.video(uri, "video/mp4").getVideo().getMimeType());
    }
  }

  @Test
  void tellsBytesByTheirBeginning() {
    byte[] flac = "fLaC....".getBytes(StandardCharsets.US_ASCII);
    assertEquals("audio/flac", Contents.audio(flac).getAudio().getMimeType());
    assertEquals("", Contents.audio(new byte[] {'f', 'L'}).getAudio().getMimeType());
    byte[] own = flac.clone();
    Content content = Contents.audio(own);
    own[0] = 'x';
    assertEquals('f', content.getAudio().getData().byteAt(0));
  }

  @Test
  void makesAVideoOfImages() {
    Content video = Contents.video(List.of(Contents.image(PNG), Contents.image(PNG)));
    assertEquals(2, video.getVideo().getFrames().getFramesCount());
    IllegalArgumentException fault =
        assertThrows(
            IllegalArgumentException.class,
            () -> Contents.video(List.of(Contents.image(PNG), Contents.text("no"))));
    assertEquals("frame 1 is no image but TEXT", fault.getMessage());
  }
}
