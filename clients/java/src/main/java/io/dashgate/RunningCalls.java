package io.dashgate;

import io.grpc.MethodDescriptor;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** The calls of a client that have not ended. They are cancelled when it is closed. */
final class RunningCalls {
  private final Set<Exchange<?, ?>> calls = ConcurrentHashMap.newKeySet();
  private final CallLog log;

  RunningCalls(CallLog log) {
    this.log = log;
  }

  CallLog log() {
    return log;
  }

  CallRecord record(MethodDescriptor<?, ?> method, String requestId) {
    return new CallRecord(this, method.getBareMethodName(), requestId);
  }

  void add(Exchange<?, ?> call) {
    calls.add(call);
  }

  void remove(Exchange<?, ?> call) {
    calls.remove(call);
  }

  void cancel(String why) {
    calls.forEach(call -> call.cancel(why));
  }
}
