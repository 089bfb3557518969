package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Timestamp;
import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.MediaDescription;
import io.dashgate.v1.UploadMediaRequest;
import io.dashgate.v1.UploadMediaResponse;
import io.grpc.Status;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class LargeFileTest {
  private static final int SIZE = 4 * 1024 * 1024 + 1;

  @TempDir Path folder;
  private FakeGateway gateway;
  private DashgateClient client;
  private Path file;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    client = gateway.client().build();
    byte[] data = new byte[SIZE];
    System.arraycopy("fLaC".getBytes(), 0, data, 0, 4);
    file = Files.write(folder.resolve("speech.wav"), data);
  }

  @AfterEach
  void stop() {
    client.close();
    gateway.close();
  }

  @Test
  void isUploadedOnceForAModel() throws IOException {
    Content part = Contents.audio(file);
    assertTrue(part.getAudio().getUri().startsWith("dashgate-file:"));
    assertEquals("audio/flac", part.getAudio().getMimeType());
    Conversation conversation = new Conversation("m").user(part, "What is it?");
    client.converse(conversation);
    client.converseAsync(conversation).join();
    client.streamAsync(conversation, event -> {}).join();
    try (AnswerStream stream = client.stream(conversation)) {
      stream.finalAnswer();
    }
    assertEquals(1, uploads());
    for (ConverseRequest request : gateway.requests) {
      Content sent = request.getConversation().getMessages(0).getContent(0);
      assertEquals("oss://somewhere", sent.getAudio().getUri());
    }
    assertEquals(part, conversation.messages().get(0).getContent(0));
    client.converse(new Conversation("other").user(part, "What is it?"));
    assertEquals(2, uploads());
    Files.write(file, new byte[SIZE + 1]);
    client.converse(conversation);
    assertEquals(3, uploads());
    assertEquals(SIZE + 1, descriptions().get(2).getSizeBytes());
  }

  @Test
  void isUploadedWithinTheDeadlineOfTheCall() {
    Conversation conversation = new Conversation("m").user(Contents.audio(file), "What?");
    CallSettings settings =
        CallSettings.create().timeout(Duration.ofSeconds(40)).metadata("x-request-id", "mine");
    client.converse(conversation, settings);
    assertNotEquals("mine", gateway.headers.get(0).get(FakeGateway.key("x-request-id")));
    assertEquals("mine", gateway.requests.get(0).getRequestId());
    long left = gateway.deadlines.get(0).orElseThrow().timeRemaining(TimeUnit.SECONDS);
    assertTrue(left <= 40, () -> left + " s");
  }

  @Test
  void mayBeAFrameOrInAStoredConversation() {
    Content frame = Contents.image(file);
    Content video = Contents.video(List.of(frame, Contents.image(new byte[] {1})));
    Conversation conversation = Conversation.named("conversations/a");
    conversation.user(video, Contents.video(file));
    client.converse(conversation);
    List<Content> sent = gateway.requests.get(0).getConversation().getMessages(0).getContentList();
    assertEquals("oss://somewhere", sent.get(0).getVideo().getFrames().getFrames(0).getUri());
    assertEquals("oss://somewhere", sent.get(1).getVideo().getUri());
    assertEquals(1, gateway.store.storeRequests.size());
    assertEquals("stored-model", descriptions().get(0).getModel());
    assertEquals("", gateway.requests.get(0).getConversation().getModel());
  }

  @Test
  void ofAnotherProcessIsNotSent() {
    Content part = Contents.audio(file);
    Content forged = Content.newBuilder()
        .setAudio(part.getAudio().toBuilder().setUri("dashgate-file:0123"))
        .build();
    Conversation conversation = new Conversation("m").user(part, "a").user(forged, "b");
    DashgateException fault =
        assertThrows(DashgateException.class, () -> client.converse(conversation));
    assertEquals(Status.Code.INVALID_ARGUMENT, fault.code());
    assertTrue(fault.getMessage().contains("attach the file again"), fault::getMessage);
    assertThrows(DashgateException.class, () -> client.stream(conversation));
    assertEquals(List.of(), gateway.headers);
  }

  @Test
  void thatIsGoneIsAnErrorOfThisMachine() throws IOException {
    Conversation conversation = new Conversation("m").user(Contents.audio(file), "a");
    Files.delete(file);
    UncheckedIOException fault =
        assertThrows(UncheckedIOException.class, () -> client.converse(conversation));
    assertEquals("cannot read " + file + ": no such file", fault.getMessage());
    CompletionException later =
        assertThrows(CompletionException.class, client.converseAsync(conversation)::join);
    assertSame(UncheckedIOException.class, later.getCause().getClass());
  }

  @Test
  void thatCannotBeUploadedFailsTheCall() {
    gateway.upload = out -> out.onError(Status.PERMISSION_DENIED.asException());
    Conversation conversation = new Conversation("m").user(Contents.audio(file), "a");
    DashgateException fault =
        assertThrows(DashgateException.class, () -> client.converse(conversation));
    assertEquals(Status.Code.PERMISSION_DENIED, fault.code());
    assertEquals(List.of(), gateway.requests);
  }

  @Test
  void isForgottenAfterMany() {
    AttachedFiles files = new AttachedFiles(2);
    String first = files.attach(file);
    String second = files.attach(file);
    assertNotEquals(first, second);
    files.attach(file);
    assertEquals(Optional.empty(), files.file(first));
    assertEquals(Optional.of(file), files.file(second));
  }

  @Test
  void isUploadedAgainBeforeTheUploadExpires() {
    Instant now = Instant.parse("2026-01-01T00:00:00Z");
    FileUploads uploads = new FileUploads(Clock.fixed(now, ZoneOffset.UTC));
    List<Object> key = FileUploads.key(file, "m");
    for (long seconds : List.of(3600L, 3601L)) {
      Timestamp expires =
          Timestamp.newBuilder().setSeconds(now.getEpochSecond() + seconds).build();
      uploads.remember(
          key, UploadMediaResponse.newBuilder().setUri("oss://a").setExpiresAt(expires).build());
      assertEquals(seconds > 3600, uploads.uri(key).isPresent());
    }
    uploads.remember(key, UploadMediaResponse.newBuilder().setUri("oss://a").build());
    assertEquals(Optional.empty(), uploads.uri(key));
  }

  private int uploads() {
    return descriptions().size();
  }

  private List<MediaDescription> descriptions() {
    return gateway.uploaded.stream()
        .filter(UploadMediaRequest::hasDescription)
        .map(UploadMediaRequest::getDescription)
        .collect(Collectors.toList());
  }
}
