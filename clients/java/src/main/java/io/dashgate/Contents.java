package io.dashgate;

import io.dashgate.v1.Audio;
import io.dashgate.v1.Content;
import io.dashgate.v1.Image;
import io.dashgate.v1.Video;
import io.dashgate.v1.VideoFrames;
import java.io.InputStream;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;

/**
 * Parts of a message: text, audio, images and video.
 *
 * <p>Audio, images and videos are a file, bytes, a stream of bytes, or a URI. A string that begins
 * with {@code http:}, {@code https:}, {@code oss:} or {@code data:} is a URI, any other string a
 * path, also after {@code file:}. A file is read immediately, and its path is never sent. One of
 * more than 4 MiB is uploaded by the first call that sends the part, and once for each model; if it
 * is changed by then, the call is {@code INVALID_ARGUMENT}. What cannot be read, and a pipe, a
 * device or a directory, is an {@link java.io.UncheckedIOException} with its path.
 *
 * <p>The MIME type is detected from the first bytes, then from the file's extension, else by the
 * gateway, unless it is passed explicitly.
 */
public final class Contents {
  private Contents() {}

  /**
   * Returns a text part.
   *
   * @param text the text
   * @return the part
   */
  public static Content text(String text) {
    return Content.newBuilder().setText(text).build();
  }

  /**
   * Returns an audio part.
   *
   * @param pathOrUri the path of a file, or a URI
   * @return the part
   */
  public static Content audio(String pathOrUri) {
    return audio(Medium.of(pathOrUri, "audio"), null);
  }

  /**
   * Returns an audio part.
   *
   * @param pathOrUri the path of a file, or a URI
   * @param mimeType for example {@code audio/wav}
   * @return the part
   */
  public static Content audio(String pathOrUri, String mimeType) {
    return audio(Medium.of(pathOrUri, "audio"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an audio part.
   *
   * @param file the file
   * @return the part
   */
  public static Content audio(Path file) {
    return audio(Medium.of(file, "audio"), null);
  }

  /**
   * Returns an audio part.
   *
   * @param file the file
   * @param mimeType for example {@code audio/wav}
   * @return the part
   */
  public static Content audio(Path file, String mimeType) {
    return audio(Medium.of(file, "audio"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an audio part.
   *
   * @param data the bytes of a file
   * @return the part
   */
  public static Content audio(byte[] data) {
    return audio(Medium.of(data, "audio"), null);
  }

  /**
   * Returns an audio part.
   *
   * @param data the bytes of a file
   * @param mimeType for example {@code audio/wav}
   * @return the part
   */
  public static Content audio(byte[] data, String mimeType) {
    return audio(Medium.of(data, "audio"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an audio part.
   *
   * @param stream the bytes of a file, read to their end; it is not closed
   * @return the part
   */
  public static Content audio(InputStream stream) {
    return audio(Medium.of(stream, "audio"), null);
  }

  /**
   * Returns an audio part.
   *
   * @param stream the bytes of a file, read to their end; it is not closed
   * @param mimeType for example {@code audio/wav}
   * @return the part
   */
  public static Content audio(InputStream stream, String mimeType) {
    return audio(Medium.of(stream, "audio"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an image part.
   *
   * @param pathOrUri the path of a file, or a URI
   * @return the part
   */
  public static Content image(String pathOrUri) {
    return image(Medium.of(pathOrUri, "image"), null);
  }

  /**
   * Returns an image part.
   *
   * @param pathOrUri the path of a file, or a URI
   * @param mimeType for example {@code image/png}
   * @return the part
   */
  public static Content image(String pathOrUri, String mimeType) {
    return image(Medium.of(pathOrUri, "image"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an image part.
   *
   * @param file the file
   * @return the part
   */
  public static Content image(Path file) {
    return image(Medium.of(file, "image"), null);
  }

  /**
   * Returns an image part.
   *
   * @param file the file
   * @param mimeType for example {@code image/png}
   * @return the part
   */
  public static Content image(Path file, String mimeType) {
    return image(Medium.of(file, "image"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an image part.
   *
   * @param data the bytes of a file
   * @return the part
   */
  public static Content image(byte[] data) {
    return image(Medium.of(data, "image"), null);
  }

  /**
   * Returns an image part.
   *
   * @param data the bytes of a file
   * @param mimeType for example {@code image/png}
   * @return the part
   */
  public static Content image(byte[] data, String mimeType) {
    return image(Medium.of(data, "image"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns an image part.
   *
   * @param stream the bytes of a file, read to their end; it is not closed
   * @return the part
   */
  public static Content image(InputStream stream) {
    return image(Medium.of(stream, "image"), null);
  }

  /**
   * Returns an image part.
   *
   * @param stream the bytes of a file, read to their end; it is not closed
   * @param mimeType for example {@code image/png}
   * @return the part
   */
  public static Content image(InputStream stream, String mimeType) {
    return image(Medium.of(stream, "image"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns a video part.
   *
   * @param pathOrUri the path of a file, or a URI
   * @return the part
   */
  public static Content video(String pathOrUri) {
    return video(Medium.of(pathOrUri, "video"), null);
  }

  /**
   * Returns a video part.
   *
   * @param pathOrUri the path of a file, or a URI
   * @param mimeType for example {@code video/mp4}
   * @return the part
   */
  public static Content video(String pathOrUri, String mimeType) {
    return video(Medium.of(pathOrUri, "video"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns a video part.
   *
   * @param file the file
   * @return the part
   */
  public static Content video(Path file) {
    return video(Medium.of(file, "video"), null);
  }

  /**
   * Returns a video part.
   *
   * @param file the file
   * @param mimeType for example {@code video/mp4}
   * @return the part
   */
  public static Content video(Path file, String mimeType) {
    return video(Medium.of(file, "video"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns a video part.
   *
   * @param data the bytes of a file
   * @return the part
   */
  public static Content video(byte[] data) {
    return video(Medium.of(data, "video"), null);
  }

  /**
   * Returns a video part.
   *
   * @param data the bytes of a file
   * @param mimeType for example {@code video/mp4}
   * @return the part
   */
  public static Content video(byte[] data, String mimeType) {
    return video(Medium.of(data, "video"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns a video part.
   *
   * @param stream the bytes of a file, read to their end; it is not closed
   * @return the part
   */
  public static Content video(InputStream stream) {
    return video(Medium.of(stream, "video"), null);
  }

  /**
   * Returns a video part.
   *
   * @param stream the bytes of a file, read to their end; it is not closed
   * @param mimeType for example {@code video/mp4}
   * @return the part
   */
  public static Content video(InputStream stream, String mimeType) {
    return video(Medium.of(stream, "video"), Objects.requireNonNull(mimeType, "mimeType"));
  }

  /**
   * Returns a video part that is a list of frames.
   *
   * @param frames parts returned by {@code image}
   * @return the part
   */
  public static Content video(List<Content> frames) {
    VideoFrames.Builder list = VideoFrames.newBuilder();
    for (Content frame : frames) {
      if (!frame.hasImage()) {
        throw new IllegalArgumentException(
            "frame " + list.getFramesCount() + " is no image but " + frame.getKindCase());
      }
      list.addFrames(frame.getImage());
    }
    return Content.newBuilder().setVideo(Video.newBuilder().setFrames(list)).build();
  }

  static Content audio(Medium medium, String mimeType) {
    Audio.Builder audio = Audio.newBuilder().setMimeType(medium.mimeType(mimeType));
    if (medium.uri != null) {
      audio.setUri(medium.uri);
    } else {
      audio.setData(medium.data);
    }
    return Content.newBuilder().setAudio(audio).build();
  }

  static Content image(Medium medium, String mimeType) {
    Image.Builder image = Image.newBuilder().setMimeType(medium.mimeType(mimeType));
    if (medium.uri != null) {
      image.setUri(medium.uri);
    } else {
      image.setData(medium.data);
    }
    return Content.newBuilder().setImage(image).build();
  }

  static Content video(Medium medium, String mimeType) {
    Video.Builder video = Video.newBuilder().setMimeType(medium.mimeType(mimeType));
    if (medium.uri != null) {
      video.setUri(medium.uri);
    } else {
      video.setData(medium.data);
    }
    return Content.newBuilder().setVideo(video).build();
  }
}
