package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.dashgate.v1.Content;
import io.dashgate.v1.ConverseRequest;
import io.dashgate.v1.MediaDescription;
import io.dashgate.v1.UploadMediaRequest;
import io.grpc.Status;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
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
    client.converse(new Conversation("m").user(Contents.audio(file), "What is it?"));
    assertEquals(3, uploads());
    assertEquals(SIZE + 1, descriptions().get(2).getSizeBytes());
  }

  @Test
  void isUploadedOnceForATypeOfAPart() {
    client.converse(
        new Conversation("m").user(Contents.audio(file, "a/b"), Contents.video(file, "c/d")));
    client.converse(new Conversation("m").user(Contents.image(file, "a/b")));
    assertEquals(
        List.of("a/b", "c/d"),
        descriptions().stream()
            .map(MediaDescription::getMimeType)
            .collect(Collectors.toList()));
    assertEquals("speech.wav", descriptions().get(0).getName());
  }

  @Test
  void thatIsNotTheOneThatWasAttachedIsNotSent() throws Exception {
    FileTime modified = FileTime.fromMillis(1_700_000_000_000L);
    Files.setLastModifiedTime(file, modified);
    Path copy = Files.copy(file, folder.resolve("copy"), StandardCopyOption.COPY_ATTRIBUTES);
    Conversation conversation = new Conversation("m").user(Contents.audio(file), "a");
    Files.setLastModifiedTime(file, FileTime.fromMillis(1));
    notAttached(conversation);
    Files.setLastModifiedTime(file, modified);
    Files.write(file, new byte[] {1}, StandardOpenOption.APPEND);
    Files.setLastModifiedTime(file, modified);
    notAttached(conversation);
    Files.delete(file);
    Files.move(copy, file);
    assertEquals(modified, Files.getLastModifiedTime(file));
    notAttached(conversation);
    Files.delete(file);
    OddFiles.pipe(file);
    notAttached(conversation);
    Files.delete(file);
    Files.createDirectory(file);
    notAttached(conversation);
    assertEquals(List.of(), gateway.headers);
  }

  @Test
  void thatIsChangedIsNotSentAlsoIfItsUploadIsRemembered() throws IOException {
    Conversation conversation = new Conversation("m").user(Contents.audio(file), "a");
    client.converse(conversation);
    Files.write(file, new byte[] {1}, StandardOpenOption.APPEND);
    notAttached(conversation);
    assertEquals(1, gateway.requests.size());
  }

  private void notAttached(Conversation conversation) {
    DashgateException fault =
        assertThrows(DashgateException.class, () -> client.converse(conversation));
    assertEquals(Status.Code.INVALID_ARGUMENT, fault.code());
    assertTrue(fault.getMessage().contains(file.toString()), fault::getMessage);
    assertTrue(fault.getMessage().contains("attach the file again"), fault::getMessage);
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
  void isForgottenAfterMany() throws IOException {
    AttachedFiles files = new AttachedFiles(2);
    FileVersion version = FileOpener.version(file);
    String first = files.attach(file, version);
    String second = files.attach(file, version);
    assertNotEquals(first, second);
    files.attach(file, version);
    assertEquals(Optional.empty(), files.file(first));
    assertEquals(file, files.file(second).orElseThrow().path());
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
