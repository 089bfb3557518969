"""Sets retries, interceptors and options of the gRPC library."""

from collections.abc import Callable
from typing import Any

import grpc

import dashgate


# region interceptor
class Timing(grpc.UnaryUnaryClientInterceptor):
    """Prints each method that is called."""

    def intercept_unary_unary(
        self, proceed: Callable[..., Any], details: grpc.ClientCallDetails, request: Any
    ) -> Any:
        print("calling", details.method)
        return proceed(details, request)


def connect() -> dashgate.Client:
    return dashgate.Client(
        max_retries=3,
        interceptors=[Timing()],
        channel_options=[("grpc.max_reconnect_backoff_ms", 1000)],
    )


# endregion

if __name__ == "__main__":
    with connect() as client:
        # region headers
        stream = client.stream(dashgate.Conversation("qwen3.6-plus").user("Tell me a short story."))
        for _ in stream.text_deltas():
            break  # The user has pressed "stop".
        if stream.partial is not None:
            print(stream.partial.text, "of request", stream.headers.get("x-request-id"))
        # endregion
        print(client.converse(dashgate.Conversation("qwen3.6-plus").user("Hello!")).text)
