package io.dashgate;

import io.dashgate.v1.ConversationServiceGrpc;
import io.dashgate.v1.ModelServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.util.Set;
import java.util.function.BooleanSupplier;

/** Retries the calls of ConversationService and ModelService as the policy allows. */
final class Retries implements ClientInterceptor {
  /** The call has one attempt. */
  static final CallOptions.Key<Boolean> ONCE =
      CallOptions.Key.createWithDefault("dashgate-once", false);

  private static final Set<String> SERVICES =
      Set.of(ConversationServiceGrpc.SERVICE_NAME, ModelServiceGrpc.SERVICE_NAME);

  private final RetryPolicy policy;

  Retries(BooleanSupplier isClosed) {
    policy = new RetryPolicy(isClosed);
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    boolean again =
        !options.getOption(ONCE)
            && SERVICES.contains(method.getServiceName())
            && method.getType().clientSendsOneMessage();
    return again
        ? new RetriedCall<>(policy.new Pauses(), () -> next.newCall(method, options), options)
        : next.newCall(method, options);
  }

  /**
   * Returns the metadata for an attempt: the library adds entries to the object that it receives.
   */
  static Metadata copy(Metadata headers) {
    Metadata copy = new Metadata();
    copy.merge(headers);
    return copy;
  }
}
