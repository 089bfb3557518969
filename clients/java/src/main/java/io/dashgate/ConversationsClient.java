package io.dashgate;

import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.CancelTurnResponse;
import io.dashgate.v1.ForkConversationRequest;
import io.dashgate.v1.ListTurnsRequest;
import io.dashgate.v1.Turn;

/** The methods of {@link DashgateClient} for the conversations that a gateway stores. */
abstract class ConversationsClient extends AsyncConversationsClient {
  ConversationsClient(Calls calls) {
    super(calls);
  }

  /**
   * Creates a stored conversation, for a gateway with a store. It is not tried again if the gateway
   * cannot be reached, because without an id a second attempt would create another conversation.
   *
   * @param settings model, labels and lifetime
   * @return the conversation, with the name that the gateway made
   */
  public io.dashgate.v1.Conversation createConversation(ConversationSettings settings) {
    return createConversation("", settings);
  }

  /**
   * Creates a stored conversation, for a gateway with a store.
   *
   * @param id the part of its name after {@code conversations/}; empty for one that the gateway
   *     makes. One that exists is {@code ALREADY_EXISTS}
   * @param settings model, labels and lifetime
   * @return the conversation
   */
  public io.dashgate.v1.Conversation createConversation(
      String id, ConversationSettings settings) {
    return createConversation(id, settings, CallSettings.create());
  }

  /**
   * Creates a stored conversation, for a gateway with a store.
   *
   * @param id the part of its name after {@code conversations/}; empty for one that the gateway
   *     makes. One that exists is {@code ALREADY_EXISTS}
   * @param settings model, labels and lifetime
   * @param call options of this call; generation options are not used
   * @return the conversation
   */
  public io.dashgate.v1.Conversation createConversation(
      String id, ConversationSettings settings, CallSettings call) {
    return UnaryExchange.await(createConversationAsync(id, settings, call));
  }

  /**
   * Returns a stored conversation, without its turns.
   *
   * @param name {@code conversations/{id}}
   * @return the conversation; {@link Conversation#of} continues it
   */
  public io.dashgate.v1.Conversation getConversation(String name) {
    return getConversation(name, CallSettings.create());
  }

  /**
   * Returns a stored conversation, without its turns.
   *
   * @param name {@code conversations/{id}}
   * @param call options of this call; generation options are not used
   * @return the conversation; {@link Conversation#of} continues it
   */
  public io.dashgate.v1.Conversation getConversation(String name, CallSettings call) {
    return UnaryExchange.await(getConversationAsync(name, call));
  }

  /**
   * Returns the stored conversations of this caller, the latest update first.
   *
   * @return the conversations, without their turns; each iteration fetches them again
   */
  public Iterable<io.dashgate.v1.Conversation> listConversations() {
    return listConversations(0, CallSettings.create());
  }

  /**
   * Returns the stored conversations of this caller, the latest update first. A page is fetched
   * when its first conversation is needed; a failure is thrown there.
   *
   * @param pageSize how many are fetched at once; 0 is the gateway's page size
   * @param call options of each call; generation options are not used
   * @return the conversations, without their turns; each iteration fetches them again
   */
  public Iterable<io.dashgate.v1.Conversation> listConversations(
      int pageSize, CallSettings call) {
    return conversations(pageSize, call);
  }

  /**
   * Changes a stored conversation.
   *
   * @param name {@code conversations/{id}}
   * @param changes what to change: only what is set. Labels replace all labels
   * @return the conversation after the change
   */
  public io.dashgate.v1.Conversation updateConversation(
      String name, ConversationSettings changes) {
    return updateConversation(name, changes, CallSettings.create());
  }

  /**
   * Changes a stored conversation.
   *
   * @param name {@code conversations/{id}}
   * @param changes what to change: only what is set. Labels replace all labels
   * @param call options of this call; generation options are not used
   * @return the conversation after the change
   */
  public io.dashgate.v1.Conversation updateConversation(
      String name, ConversationSettings changes, CallSettings call) {
    return UnaryExchange.await(updateConversationAsync(name, changes, call));
  }

  /**
   * Deletes a stored conversation with its turns and media.
   *
   * @param name {@code conversations/{id}}
   */
  public void deleteConversation(String name) {
    deleteConversation(name, CallSettings.create());
  }

  /**
   * Deletes a stored conversation with its turns and media.
   *
   * @param name {@code conversations/{id}}
   * @param call options of this call; generation options are not used
   */
  public void deleteConversation(String name, CallSettings call) {
    UnaryExchange.await(deleteConversationAsync(name, call));
  }

  /**
   * Returns the turns of a stored conversation, the first one first and without the bytes of media.
   *
   * @param name {@code conversations/{id}}
   * @return the turns, also those that failed; each iteration fetches them again
   */
  public Iterable<Turn> listTurns(String name) {
    return listTurns(
        ListTurnsRequest.newBuilder().setName(name).build(), CallSettings.create());
  }

  /**
   * Returns the turns of a stored conversation. A page is fetched when its first turn is needed; a
   * failure is thrown there.
   *
   * @param request the name; {@code newest_first}, {@code include_media} and {@code page_size} if
   *     they are not to be the defaults
   * @param call options of each call; generation options are not used
   * @return the turns, also those that failed; each iteration fetches them again
   */
  public Iterable<Turn> listTurns(ListTurnsRequest request, CallSettings call) {
    return turns(request, call);
  }

  /**
   * Deletes a turn of a stored conversation with its media.
   *
   * @param name {@code conversations/{id}/turns/{number}}
   */
  public void deleteTurn(String name) {
    deleteTurn(name, CallSettings.create());
  }

  /**
   * Deletes a turn of a stored conversation with its media.
   *
   * @param name {@code conversations/{id}/turns/{number}}
   * @param call options of this call; generation options are not used
   */
  public void deleteTurn(String name, CallSettings call) {
    UnaryExchange.await(deleteTurnAsync(name, call));
  }

  /**
   * Copies the whole history of a stored conversation into a new one, with an id that the gateway
   * makes.
   *
   * @param name {@code conversations/{id}}
   * @return the new conversation
   */
  public io.dashgate.v1.Conversation forkConversation(String name) {
    return forkConversation(
        ForkConversationRequest.newBuilder().setName(name).build(), CallSettings.create());
  }

  /**
   * Copies the history of a stored conversation into a new one. Without an id, it is not tried
   * again if the gateway cannot be reached.
   *
   * @param request the name; {@code last_turn} and {@code conversation_id} if they are not to be
   *     the defaults
   * @param call options of this call; generation options are not used
   * @return the new conversation
   */
  public io.dashgate.v1.Conversation forkConversation(
      ForkConversationRequest request, CallSettings call) {
    return UnaryExchange.await(forkConversationAsync(request, call));
  }

  /**
   * Cancels the turn of a stored conversation that is running, whatever process started it.
   *
   * @param name {@code conversations/{id}}
   * @return the request id of the turn; it is empty if none was running
   */
  public CancelTurnResponse cancelTurn(String name) {
    return cancelTurn(
        CancelTurnRequest.newBuilder().setName(name).build(), CallSettings.create());
  }

  /**
   * Cancels the turn of a stored conversation that is running, whatever process started it.
   *
   * @param request the name, and the request id of the turn if no other one is to be cancelled
   * @param call options of this call; generation options are not used
   * @return the request id of the turn; it is empty if none was running
   */
  public CancelTurnResponse cancelTurn(CancelTurnRequest request, CallSettings call) {
    return UnaryExchange.await(cancelTurnAsync(request, call));
  }
}
