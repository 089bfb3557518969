package io.dashgate;

import com.google.protobuf.Message;
import io.dashgate.v1.CancelTurnRequest;
import io.dashgate.v1.CancelTurnResponse;
import io.dashgate.v1.Conversation;
import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.CreateConversationRequest;
import io.dashgate.v1.CreateConversationResponse;
import io.dashgate.v1.DeleteConversationRequest;
import io.dashgate.v1.DeleteConversationResponse;
import io.dashgate.v1.DeleteTurnRequest;
import io.dashgate.v1.DeleteTurnResponse;
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
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;

/** Answers what concerns stored conversations with what was asked, in pages of one. */
class FakeStore extends ConversationServiceGrpc.ConversationServiceImplBase {
  final List<Message> storeRequests = new CopyOnWriteArrayList<>();
  /** How many of the next calls fail. */
  final AtomicInteger failures = new AtomicInteger();

  @Override
  public void createConversation(
      CreateConversationRequest request, StreamObserver<CreateConversationResponse> out) {
    Conversation conversation =
        request.getConversation().toBuilder()
            .setName("conversations/" + request.getConversationId())
            .build();
    answer(
        request,
        CreateConversationResponse.newBuilder().setConversation(conversation).build(),
        out);
  }

  @Override
  public void getConversation(
      GetConversationRequest request, StreamObserver<GetConversationResponse> out) {
    Conversation conversation =
        Conversation.newBuilder()
            .setName(request.getName())
            .setModel("stored-model")
            .setLastTurn(7)
            .build();
    answer(
        request, GetConversationResponse.newBuilder().setConversation(conversation).build(), out);
  }

  @Override
  public void listConversations(
      ListConversationsRequest request, StreamObserver<ListConversationsResponse> out) {
    boolean isLast = !request.getPageToken().isEmpty();
    ListConversationsResponse page =
        ListConversationsResponse.newBuilder()
            .addConversations(Conversation.newBuilder().setName(isLast ? "b" : "a"))
            .setNextPageToken(isLast ? "" : "second")
            .build();
    answer(request, page, out);
  }

  @Override
  public void updateConversation(
      UpdateConversationRequest request, StreamObserver<UpdateConversationResponse> out) {
    answer(
        request,
        UpdateConversationResponse.newBuilder().setConversation(request.getConversation()).build(),
        out);
  }

  @Override
  public void deleteConversation(
      DeleteConversationRequest request, StreamObserver<DeleteConversationResponse> out) {
    answer(request, DeleteConversationResponse.getDefaultInstance(), out);
  }

  @Override
  public void listTurns(ListTurnsRequest request, StreamObserver<ListTurnsResponse> out) {
    boolean isLast = !request.getPageToken().isEmpty();
    ListTurnsResponse page =
        ListTurnsResponse.newBuilder()
            .addTurns(Turn.newBuilder().setNumber(isLast ? 2 : 1))
            .setNextPageToken(isLast ? "" : "second")
            .build();
    answer(request, page, out);
  }

  @Override
  public void deleteTurn(DeleteTurnRequest request, StreamObserver<DeleteTurnResponse> out) {
    answer(request, DeleteTurnResponse.getDefaultInstance(), out);
  }

  @Override
  public void forkConversation(
      ForkConversationRequest request, StreamObserver<ForkConversationResponse> out) {
    Conversation conversation =
        Conversation.newBuilder()
            .setName("conversations/" + request.getConversationId())
            .setLastTurn(request.getLastTurn())
            .build();
    answer(
        request,
        ForkConversationResponse.newBuilder().setConversation(conversation).build(),
        out);
  }

  @Override
  public void cancelTurn(CancelTurnRequest request, StreamObserver<CancelTurnResponse> out) {
    answer(request, CancelTurnResponse.newBuilder().setRequestId("running").build(), out);
  }

  private <A> void answer(Message request, A response, StreamObserver<A> out) {
    storeRequests.add(request);
    if (failures.getAndUpdate(it -> Math.max(it - 1, 0)) > 0) {
      out.onError(FakeGateway.pushedBack(Status.UNAVAILABLE, "1"));
      return;
    }
    out.onNext(response);
    out.onCompleted();
  }
}
