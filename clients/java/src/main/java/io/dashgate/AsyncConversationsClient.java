package io.dashgate;

import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.CancelTurnResponse;
import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.CreateConversationRequest;
import io.dashgate.v1.CreateConversationResponse;
import io.dashgate.v1.DeleteConversationRequest;
import io.dashgate.v1.DeleteTurnRequest;
import io.dashgate.v1.ForkConversationRequest;
import io.dashgate.v1.ForkConversationResponse;
import io.dashgate.v1.GetConversationRequest;
import io.dashgate.v1.GetConversationResponse;
import io.dashgate.v1.ListConversationsRequest;
import io.dashgate.v1.ListConversationsResponse;
import io.dashgate.v1.ListTurnsRequest;
import io.dashgate.v1.ListTurnsResponse;
import io.dashgate.v1.Turn;
import io.dashgate.v1.UpdateConversationRequest;
import io.dashgate.v1.UpdateConversationResponse;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/** The methods of {@link DashgateClient} for stored conversations that return futures. */
abstract class AsyncConversationsClient extends ResourcesClient {
  AsyncConversationsClient(Calls calls) {
    super(calls);
  }

  /**
   * Creates a stored conversation, as {@link DashgateClient#createConversation(String,
   * ConversationSettings, CallSettings)}.
   *
   * @param id the part of its name after {@code conversations/}; empty for one that the gateway
   *     makes
   * @param settings model, labels and lifetime
   * @param call options of this call; generation options are not used
   * @return the conversation; cancelling or completing the future cancels the call
   */
  public CompletableFuture<io.dashgate.v1.Conversation> createConversationAsync(
      String id, ConversationSettings settings, CallSettings call) {
    CreateConversationRequest request =
        CreateConversationRequest.newBuilder()
            .setConversationId(id)
            .setConversation(settings.conversation())
            .build();
    return Futures.map(
        calls.queryAsync(
            ConversationServiceGrpc.getCreateConversationMethod(), request, call, !id.isEmpty()),
        CreateConversationResponse::getConversation);
  }

  /**
   * Returns a stored conversation, without its turns.
   *
   * @param name {@code conversations/{id}}
   * @param call options of this call; generation options are not used
   * @return the conversation; cancelling or completing the future cancels the call
   */
  public CompletableFuture<io.dashgate.v1.Conversation> getConversationAsync(
      String name, CallSettings call) {
    return Futures.map(
        calls.queryAsync(
            ConversationServiceGrpc.getGetConversationMethod(),
            GetConversationRequest.newBuilder().setName(name).build(),
            call),
        GetConversationResponse::getConversation);
  }

  /**
   * Passes the stored conversations of this caller to a consumer, the latest update first.
   *
   * @param pageSize how many are fetched at once; 0 is the gateway's page size
   * @param call options of each call; generation options are not used
   * @param consumer receives the conversations, without their turns, on a thread of the channel.
   *     The next page is fetched when it has returned; an exception completes the future
   * @return complete after the last one; cancelling or completing it ends the list
   */
  public CompletableFuture<Void> listConversationsAsync(
      int pageSize,
      CallSettings call,
      Consumer<? super io.dashgate.v1.Conversation> consumer) {
    return conversations(pageSize, call).forEachAsync(consumer);
  }

  /**
   * Changes a stored conversation.
   *
   * @param name {@code conversations/{id}}
   * @param changes what to change: only what is set. Labels replace all labels
   * @param call options of this call; generation options are not used
   * @return the conversation after the change; cancelling or completing the future cancels the call
   */
  public CompletableFuture<io.dashgate.v1.Conversation> updateConversationAsync(
      String name, ConversationSettings changes, CallSettings call) {
    UpdateConversationRequest request =
        UpdateConversationRequest.newBuilder()
            .setConversation(changes.conversation().setName(name))
            .setUpdateMask(changes.mask())
            .build();
    return Futures.map(
        calls.queryAsync(
            ConversationServiceGrpc.getUpdateConversationMethod(), request, call),
        UpdateConversationResponse::getConversation);
  }

  /**
   * Deletes a stored conversation with its turns and media.
   *
   * @param name {@code conversations/{id}}
   * @param call options of this call; generation options are not used
   * @return complete when it is deleted; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Void> deleteConversationAsync(String name, CallSettings call) {
    return Futures.map(
        calls.queryAsync(
            ConversationServiceGrpc.getDeleteConversationMethod(),
            DeleteConversationRequest.newBuilder().setName(name).build(),
            call),
        response -> null);
  }

  /**
   * Passes the turns of a stored conversation to a consumer.
   *
   * @param request the name; {@code newest_first}, {@code include_media} and {@code page_size} if
   *     they are not to be the defaults
   * @param call options of each call; generation options are not used
   * @param consumer receives the turns, also those that failed, on a thread of the channel. The
   *     next page is fetched when it has returned; an exception completes the future
   * @return complete after the last one; cancelling or completing it ends the list
   */
  public CompletableFuture<Void> listTurnsAsync(
      ListTurnsRequest request, CallSettings call, Consumer<? super Turn> consumer) {
    return turns(request, call).forEachAsync(consumer);
  }

  /**
   * Deletes a turn of a stored conversation with its media.
   *
   * @param name {@code conversations/{id}/turns/{number}}
   * @param call options of this call; generation options are not used
   * @return complete when it is deleted; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Void> deleteTurnAsync(String name, CallSettings call) {
    return Futures.map(
        calls.queryAsync(
            ConversationServiceGrpc.getDeleteTurnMethod(),
            DeleteTurnRequest.newBuilder().setName(name).build(),
            call),
        response -> null);
  }

  /**
   * Copies the history of a stored conversation into a new one. Without an id, it is not tried
   * again if the gateway cannot be reached.
   *
   * @param request the name; {@code last_turn} and {@code conversation_id} if they are not to be
   *     the defaults
   * @param call options of this call; generation options are not used
   * @return the new conversation; cancelling or completing the future cancels the call
   */
  public CompletableFuture<io.dashgate.v1.Conversation> forkConversationAsync(
      ForkConversationRequest request, CallSettings call) {
    return Futures.map(
        calls.queryAsync(
            ConversationServiceGrpc.getForkConversationMethod(),
            request,
            call,
            !request.getConversationId().isEmpty()),
        ForkConversationResponse::getConversation);
  }

  /**
   * Cancels the turn of a stored conversation that is running, whatever process started it.
   *
   * @param request the name, and the request id of the turn if no other one is to be cancelled
   * @param call options of this call; generation options are not used
   * @return the request id of the turn, empty if none was running; cancelling or completing the
   *     future cancels the call
   */
  public CompletableFuture<CancelTurnResponse> cancelTurnAsync(
      CancelTurnRequest request, CallSettings call) {
    return calls.queryAsync(ConversationServiceGrpc.getCancelTurnMethod(), request, call);
  }

  final Pages<?, io.dashgate.v1.Conversation> conversations(int pageSize, CallSettings call) {
    ListConversationsRequest request =
        ListConversationsRequest.newBuilder().setPageSize(pageSize).build();
    return new Pages<>(
        token ->
            calls.queryAsync(
                ConversationServiceGrpc.getListConversationsMethod(),
                request.toBuilder().setPageToken(token).build(),
                call),
        ListConversationsResponse::getConversationsList,
        ListConversationsResponse::getNextPageToken);
  }

  final Pages<?, Turn> turns(ListTurnsRequest request, CallSettings call) {
    return new Pages<>(
        token ->
            calls.queryAsync(
                ConversationServiceGrpc.getListTurnsMethod(),
                request.toBuilder().setPageToken(token).build(),
                call),
        ListTurnsResponse::getTurnsList,
        ListTurnsResponse::getNextPageToken);
  }
}
