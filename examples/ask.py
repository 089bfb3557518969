"""Asks a gateway about an audio file, and prints the answer while it arrives.

docs/recipes.md shows how to generate the modules below `dashgate` from the schema.
"""

import pathlib
import sys

import grpc

from dashgate.v1 import content_pb2, conversation_pb2
from dashgate.v1 import conversation_service_pb2 as messages
from dashgate.v1.conversation_service_pb2_grpc import ConversationServiceStub

audio, question = sys.argv[1:3]
server = sys.argv[3] if len(sys.argv) > 3 else "localhost:50051"

request = messages.ConverseStreamRequest(
    conversation=conversation_pb2.Conversation(
        model="qwen-audio-turbo",
        messages=[
            conversation_pb2.Message(
                role=conversation_pb2.ROLE_USER,
                content=[
                    content_pb2.Content(
                        audio=content_pb2.Audio(data=pathlib.Path(audio).read_bytes())
                    ),
                    content_pb2.Content(text=question),
                ],
            )
        ],
    )
)

with grpc.insecure_channel(server) as channel:
    # The timeout applies to the whole call, including the stream.
    events = ConversationServiceStub(channel).ConverseStream(request, timeout=60)
    try:
        for event in events:
            if event.WhichOneof("event") == "delta":
                print(event.delta.text, end="", flush=True)
            elif event.WhichOneof("event") == "completed":
                usage = event.completed.usage
                print(f"\n{usage.input_tokens} tokens in, {usage.output_tokens} out")
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        print(f"request id {trailers.get('x-request-id')}", file=sys.stderr)
        # Negative: do not retry. Missing: the server was not reached.
        print(f"retry after {trailers.get('grpc-retry-pushback-ms')} ms", file=sys.stderr)
        sys.exit(1)
