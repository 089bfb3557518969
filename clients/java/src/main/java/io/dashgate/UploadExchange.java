package io.dashgate;

import com.google.protobuf.UnsafeByteOperations;
import io.dashgate.v1.MediaDescription;
import io.dashgate.v1.UploadMediaRequest;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.ClientCall;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Arrays;
import java.util.OptionalLong;

/** An upload that sends the next chunk when the connection is ready, so that none is buffered. */
final class UploadExchange extends UnaryExchange<UploadMediaRequest, UploadMediaResponse> {
  /** The gateway accepts at most 1 MiB, and recommends 64 KiB or more. */
  private static final int CHUNK = 256 * 1024;

  private final Upload upload;
  private final String model;
  private final UploadSource source;
  /** Null before the source is open; of the thread that reads. */
  private InputStream stream;

  // Guarded by this.
  private boolean isReading;
  private boolean sentAll;

  UploadExchange(
      ClientCall<UploadMediaRequest, UploadMediaResponse> call,
      CallRecord record,
      String model,
      Upload upload) {
    super(call, record);
    this.upload = upload;
    this.model = model;
    this.source = upload.source();
  }

  @Override
  public void onReady() {
    synchronized (this) {
      if (isReading || sentAll) {
        return;
      }
      isReading = true;
    }
    // Reading may block, and the threads of the channel serve other calls.
    Background.THREADS.execute(this::read);
  }

  /** Sends what the connection accepts, in one thread at a time. */
  private void read() {
    try {
      while (goesOn()) {
        sendChunk();
      }
    } catch (IOException e) {
      give(new UncheckedIOException("cannot read what is to be uploaded", e));
    } catch (Throwable e) {
      // Whatever a source throws is passed on unchanged.
      give(e);
    }
  }

  private synchronized boolean goesOn() {
    isReading = !sentAll && !isOver() && call().isReady();
    return isReading;
  }

  @Override
  void ended(DashgateException fault) {
    super.ended(fault);
    // It may wait for a thread that reads.
    Background.THREADS.execute(source::close);
  }

  private void sendChunk() throws IOException {
    boolean isFirst = stream == null;
    if (isFirst) {
      stream = source.open();
    }
    byte[] chunk = new byte[CHUNK];
    int length = stream.readNBytes(chunk, 0, CHUNK);
    byte[] full = length == CHUNK ? chunk : Arrays.copyOf(chunk, length);
    if (isFirst) {
      // Not earlier: until the call is ready, another thread may be starting it.
      call().sendMessage(UploadMediaRequest.newBuilder().setDescription(describe(full)).build());
    }
    if (length > 0) {
      call()
          .sendMessage(
              UploadMediaRequest.newBuilder()
                  .setChunk(UnsafeByteOperations.unsafeWrap(full))
                  .build());
    }
    if (length < CHUNK) {
      source.close();
      synchronized (this) {
        sentAll = true;
      }
      call().halfClose();
    }
  }

  private MediaDescription describe(byte[] first) {
    String mimeType = upload.mimeType();
    MediaDescription.Builder description =
        MediaDescription.newBuilder()
            .setModel(model)
            .setMimeType(mimeType.isEmpty() ? MimeTypes.of(first, upload.name(), "") : mimeType)
            .setName(upload.name());
    OptionalLong size = upload.size().isPresent() ? upload.size() : source.size();
    size.ifPresent(description::setSizeBytes);
    return description.build();
  }

  /** Cancels the call with the exception of its source. */
  private void give(Throwable fault) {
    if (!isOver()) {
      future().completeExceptionally(fault);
    }
  }
}
