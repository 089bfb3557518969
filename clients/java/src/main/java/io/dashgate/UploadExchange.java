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
import java.util.Set;

/** An upload: sends the next piece when the connection takes it, so that none waits in memory. */
final class UploadExchange extends UnaryExchange<UploadMediaRequest, UploadMediaResponse> {
  /** The gateway takes 1 MiB at most, and is best with 64 KiB or more. */
  private static final int CHUNK = 256 * 1024;

  private final Upload upload;
  private final UploadMediaRequest description;
  private InputStream source;
  private boolean sentAll;

  UploadExchange(
      ClientCall<UploadMediaRequest, UploadMediaResponse> call,
      String requestId,
      Set<Exchange<?, ?>> running,
      String model,
      Upload upload) {
    super(call, requestId, running);
    this.upload = upload;
    MediaDescription.Builder described =
        MediaDescription.newBuilder()
            .setModel(model)
            .setMimeType(upload.mimeType())
            .setName(upload.name());
    upload.size().ifPresent(described::setSizeBytes);
    this.description = UploadMediaRequest.newBuilder().setDescription(described).build();
  }

  @Override
  public void onReady() {
    try {
      while (!sentAll && call().isReady()) {
        sendChunk();
      }
    } catch (IOException e) {
      give(new UncheckedIOException("cannot read what is to be uploaded", e));
    } catch (RuntimeException e) {
      give(e);
    }
  }

  @Override
  void ended(DashgateException fault) {
    closeSource();
    super.ended(fault);
  }

  private void sendChunk() throws IOException {
    if (source == null) {
      source = upload.open();
      // Not before: until the call is ready, another thread may still be about to begin it.
      call().sendMessage(description);
    }
    byte[] chunk = new byte[CHUNK];
    int length = source.readNBytes(chunk, 0, CHUNK);
    if (length > 0) {
      byte[] full = length == CHUNK ? chunk : Arrays.copyOf(chunk, length);
      call()
          .sendMessage(
              UploadMediaRequest.newBuilder()
                  .setChunk(UnsafeByteOperations.unsafeWrap(full))
                  .build());
    }
    if (length < CHUNK) {
      sentAll = true;
      call().halfClose();
    }
  }

  /** The source's fault reaches the caller as it is, and ends the call. */
  private void give(RuntimeException fault) {
    sentAll = true;
    future().completeExceptionally(fault);
  }

  private void closeSource() {
    sentAll = true;
    if (source == null) {
      return;
    }
    try {
      source.close();
    } catch (IOException e) {
      // All that was wanted of it was read, or the call has failed already.
    }
  }
}
