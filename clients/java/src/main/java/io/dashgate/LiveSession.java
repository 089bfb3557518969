package io.dashgate;

import com.google.protobuf.ByteString;
import io.dashgate.v1.CancelResponse;
import io.dashgate.v1.ClearInput;
import io.dashgate.v1.CommitInput;
import io.dashgate.v1.ConverseLiveRequest;
import io.dashgate.v1.ConverseLiveResponse;
import io.dashgate.v1.CreateResponse;
import io.dashgate.v1.DeleteItem;
import io.dashgate.v1.ToolResult;
import io.dashgate.v1.UpdateSession;
import java.util.List;

/**
 * A spoken conversation.
 *
 * <pre>{@code
 * try (LiveSession session = client.live("qwen3-omni-flash-realtime")) {
 *   session.sendText("Good morning.");
 *   session.createResponse();
 *   session.finish();
 *   for (ConverseLiveResponse event : session.events()) {
 *     System.out.print(event.getResponseDelta().getTranscript());
 *   }
 * }
 * }</pre>
 */
public final class LiveSession extends Session<ConverseLiveRequest, ConverseLiveResponse> {
  LiveSession(Opener<ConverseLiveRequest, ConverseLiveResponse> opener, LiveProgress progress) {
    super(opener, progress);
  }

  /**
   * Sends the next piece of audio.
   *
   * @param audio in the format of the setup; 100 ms are usual
   */
  public void sendAudio(byte[] audio) {
    sendAudio(ByteString.copyFrom(audio));
  }

  /**
   * Sends the next piece of audio.
   *
   * @param audio in the format of the setup; 100 ms are usual
   */
  public void sendAudio(ByteString audio) {
    send(ConverseLiveRequest.newBuilder().setAudio(audio).build());
  }

  /**
   * Sends an image for the turn that is being spoken. Audio must precede it.
   *
   * @param image a JPEG image
   */
  public void sendImage(byte[] image) {
    send(ConverseLiveRequest.newBuilder().setImage(ByteString.copyFrom(image)).build());
  }

  /**
   * Sends a text message. {@link #createResponse()} requests the answer.
   *
   * @param text the text
   */
  public void sendText(String text) {
    send(ConverseLiveRequest.newBuilder().setText(text).build());
  }

  /** Ends the turn, if turns are manual. */
  public void commit() {
    CommitInput commit = CommitInput.getDefaultInstance();
    send(ConverseLiveRequest.newBuilder().setCommit(commit).build());
  }

  /** Discards audio and images that are not committed. */
  public void clear() {
    ClearInput clear = ClearInput.getDefaultInstance();
    send(ConverseLiveRequest.newBuilder().setClear(clear).build());
  }

  /** Requests a response. */
  public void createResponse() {
    createResponse("", List.of());
  }

  /**
   * Requests a response; the arguments replace those of the session.
   *
   * @param instructions empty for those of the session
   * @param modalities empty for those of the session
   */
  public void createResponse(String instructions, List<String> modalities) {
    CreateResponse create =
        CreateResponse.newBuilder()
            .setInstructions(instructions)
            .addAllModalities(modalities)
            .build();
    send(ConverseLiveRequest.newBuilder().setCreateResponse(create).build());
  }

  /** Cancels the running response. Nothing of it follows its {@code response_completed}. */
  public void cancelResponse() {
    CancelResponse cancel = CancelResponse.getDefaultInstance();
    send(ConverseLiveRequest.newBuilder().setCancelResponse(cancel).build());
  }

  /**
   * Sends the result of a tool call. {@link #createResponse()} requests the answer.
   *
   * @param toolCallId the id of the call
   * @param output the result
   */
  public void sendToolResult(String toolCallId, String output) {
    ToolResult result =
        ToolResult.newBuilder().setToolCallId(toolCallId).setOutput(output).build();
    send(ConverseLiveRequest.newBuilder().setToolResult(result).build());
  }

  /**
   * Changes the configuration.
   *
   * @param update what is not set stays
   */
  public void update(UpdateSession update) {
    send(ConverseLiveRequest.newBuilder().setUpdate(update).build());
  }

  /**
   * Removes an item of the conversation.
   *
   * @param itemId the id of the item
   */
  public void deleteItem(String itemId) {
    DeleteItem delete = DeleteItem.newBuilder().setItemId(itemId).build();
    send(ConverseLiveRequest.newBuilder().setDeleteItem(delete).build());
  }

  @Override
  boolean record(LiveProgress progress, ConverseLiveResponse event) {
    if (event.hasSessionStarted()) {
      progress.started(event.getSequence(), event.getSessionStarted());
      return true;
    }
    return progress.received(
        event.getSequence(),
        event.hasResponseDelta(),
        event.hasSessionEnded() ? event.getSessionEnded() : null);
  }
}
