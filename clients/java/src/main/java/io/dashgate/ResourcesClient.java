package io.dashgate;

import io.dashgate.v1.CallServiceGrpc;
import io.dashgate.v1.CancelCallRequest;
import io.dashgate.v1.GetModelRequest;
import io.dashgate.v1.GetModelResponse;
import io.dashgate.v1.ListModelsRequest;
import io.dashgate.v1.ListModelsResponse;
import io.dashgate.v1.Model;
import io.dashgate.v1.ModelServiceGrpc;
import io.dashgate.v1.UploadMediaResponse;
import java.nio.file.Path;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/** The methods of {@link DashgateClient} for models, uploads and running calls. */
abstract class ResourcesClient {
  final Calls calls;

  ResourcesClient(Calls calls) {
    this.calls = calls;
  }

  /**
   * Cancels a running call of this caller by its request id, whatever process made it. Its streams
   * fail with {@code ABORTED} and the reason {@code CALL_CANCELLED}. If no such call is running,
   * the reason of the exception is {@code CALL_NOT_FOUND}.
   *
   * @param requestId the request id of the call
   */
  public void cancelCall(String requestId) {
    cancelCall(requestId, CallSettings.create());
  }

  /**
   * Cancels a running call of this caller by its request id, as {@link #cancelCall(String)}.
   *
   * @param requestId the request id of the call
   * @param settings options of this call; generation options and request id are not used
   */
  public void cancelCall(String requestId, CallSettings settings) {
    UnaryExchange.await(cancelCallAsync(requestId, settings));
  }

  /**
   * Cancels a running call of this caller by its request id, as {@link #cancelCall(String)}.
   *
   * @param requestId the request id of the call
   * @param settings options of this call; generation options and request id are not used
   * @return complete when the call is cancelled
   */
  public CompletableFuture<Void> cancelCallAsync(String requestId, CallSettings settings) {
    Objects.requireNonNull(requestId, "requestId");
    CancelCallRequest request = CancelCallRequest.newBuilder().setRequestId(requestId).build();
    return Futures.map(
        calls.queryAsync(
            CallServiceGrpc.getCancelCallMethod(), request, settings.requestId(requestId)),
        response -> null);
  }

  /**
   * Uploads a file to DashScope's storage, in chunks.
   *
   * @param model the model that will use the file
   * @param file the file
   * @return the URI, for a content part such as {@link Contents#audio(String)}, and its lifetime
   */
  public UploadMediaResponse upload(String model, Path file) {
    return upload(model, Upload.of(file));
  }

  /**
   * Uploads a file to DashScope's storage, in chunks.
   *
   * @param model the model that will use the file
   * @param upload the file
   * @return the URI, for a content part such as {@link Contents#audio(String)}, and its lifetime
   */
  public UploadMediaResponse upload(String model, Upload upload) {
    return upload(model, upload, CallSettings.create());
  }

  /**
   * Uploads a file to DashScope's storage, in chunks.
   *
   * @param model the model that will use the file
   * @param upload the file
   * @param settings options of this call; generation options are not used
   * @return the URI, for a content part such as {@link Contents#audio(String)}, and its lifetime
   */
  public UploadMediaResponse upload(String model, Upload upload, CallSettings settings) {
    return UnaryExchange.await(uploadAsync(model, upload, settings));
  }

  /**
   * Uploads a file to DashScope's storage, asynchronously.
   *
   * @param model the model that will use the file
   * @param upload the file
   * @param settings options of this call; generation options are not used
   * @return the response; cancelling or completing the future cancels the call
   */
  public CompletableFuture<UploadMediaResponse> uploadAsync(
      String model, Upload upload, CallSettings settings) {
    return calls.upload(model, upload, settings);
  }

  /**
   * Returns the models that can be used, in the order of their names.
   *
   * @return the models; each iteration fetches them again
   */
  public Iterable<Model> listModels() {
    return listModels(0, CallSettings.create());
  }

  /**
   * Returns the models that can be used, in the order of their names. A page is fetched when its
   * first model is needed; a failure is thrown there.
   *
   * @param pageSize how many models are fetched at once; 0 is the gateway's page size
   * @param settings options of each call; generation options are not used
   * @return the models; each iteration fetches them again
   */
  public Iterable<Model> listModels(int pageSize, CallSettings settings) {
    return models(pageSize, settings);
  }

  /**
   * Passes the models that can be used to a consumer, in the order of their names.
   *
   * @param pageSize how many models are fetched at once; 0 is the gateway's page size
   * @param settings options of each call; generation options are not used
   * @param consumer receives the models, on a thread of the channel. The next page is fetched when
   *     it has returned; an exception completes the future
   * @return complete after the last one; cancelling or completing it ends the list
   */
  public CompletableFuture<Void> listModelsAsync(
      int pageSize, CallSettings settings, Consumer<? super Model> consumer) {
    return models(pageSize, settings).forEachAsync(consumer);
  }

  private Pages<?, Model> models(int pageSize, CallSettings settings) {
    ListModelsRequest request = ListModelsRequest.newBuilder().setPageSize(pageSize).build();
    return new Pages<>(
        token ->
            calls.queryAsync(
                ModelServiceGrpc.getListModelsMethod(),
                request.toBuilder().setPageToken(token).build(),
                settings),
        ListModelsResponse::getModelsList,
        ListModelsResponse::getNextPageToken);
  }

  /**
   * Returns what the gateway knows of a model.
   *
   * @param name the name, as for {@link Conversation}
   * @return the model
   */
  public Model getModel(String name) {
    return getModel(name, CallSettings.create());
  }

  /**
   * Returns what the gateway knows of a model.
   *
   * @param name the name, as for {@link Conversation}
   * @param settings options of this call; generation options are not used
   * @return the model
   */
  public Model getModel(String name, CallSettings settings) {
    return UnaryExchange.await(getModelAsync(name, settings));
  }

  /**
   * Returns a future of what the gateway knows of a model.
   *
   * @param name the name, as for {@link Conversation}
   * @param settings options of this call; generation options are not used
   * @return the model; cancelling or completing the future cancels the call
   */
  public CompletableFuture<Model> getModelAsync(String name, CallSettings settings) {
    GetModelRequest request = GetModelRequest.newBuilder().setName(name).build();
    return Futures.map(
        calls.queryAsync(ModelServiceGrpc.getGetModelMethod(), request, settings),
        GetModelResponse::getModel);
  }
}
