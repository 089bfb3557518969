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

/** An upload that sends the next chunk when the connection is ready, so that none is buffered. */
final class UploadExchange extends UnaryExchange<UploadMediaRequest, UploadMediaResponse> {
  /** The gateway accepts at most 1 MiB, and recommends 64 KiB or more. */
  private static final int CHUNK = 256 * 1024;

  private final Upload upload;
  private final String model;
  private InputStream source;
  private boolean sentAll;

  UploadExchange(
      ClientCall<UploadMediaRequest, UploadMediaResponse> call,
      CallRecord record,
      String model,
      Upload upload) {
    super(call, record);
    this.upload = upload;
    this.model = model;
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
    boolean isFirst = source == null;
    if (isFirst) {
      source = upload.open();
    }
    byte[] chunk = new byte[CHUNK];
    int length = source.readNBytes(chunk, 0, CHUNK);
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
      sentAll = true;
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
    upload.size().ifPresent(description::setSizeBytes);
    return description.build();
  }

  /** Passes the source's exception on unchanged, and cancels the call. */
  private void give(RuntimeException fault) {
    sentAll = true;
    if (!isOver()) {
      future().completeExceptionally(fault);
    }
  }

  private void closeSource() {
    sentAll = true;
    if (source == null) {
      return;
    }
    try {
      source.close();
    } catch (IOException e) {
      // Everything needed was read, or the call has already failed.
    }
  }
}
