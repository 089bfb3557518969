"""Prints a streamed answer and cancels another stream, with threads and with asyncio."""

import asyncio

import dashgate
from dashgate import v1


def main() -> None:
    conversation = dashgate.Conversation("qwen3.6-plus").user("Tell me a short story.")
    # region stream
    with dashgate.Client() as client:
        stream = client.stream(conversation)
        for text in stream.text_deltas():
            print(text, end="", flush=True)
        answer = stream.final()
        print(f"\n{answer.usage.output_tokens} tokens out, request id {answer.request_id}")
    # endregion
    # region failed
    with dashgate.Client() as client:
        try:
            client.stream(conversation).final()
        except dashgate.Error as error:
            if error.usage is not None:  # Billed even though the answer is incomplete.
                print(f"{error.raw_reason}: {error.usage.output_tokens} tokens out")
            if error.reason == v1.CONTENT_BLOCKED:
                print("DashScope blocked the answer")
    # endregion
    # region cancel
    with dashgate.Client() as client:
        for event in client.stream(conversation, timeout=60):
            if event.delta.text:
                break  # This also cancels the request to DashScope.
    # endregion


# region asyncio
async def ask() -> None:
    async with dashgate.AsyncClient() as client:
        conversation = dashgate.Conversation("qwen3.6-plus").user("Tell me a short story.")
        async for text in client.stream(conversation).text_deltas():
            print(text, end="", flush=True)
        print()


# endregion

if __name__ == "__main__":
    main()
    asyncio.run(ask())
