"""Runs tools that the model calls, prints an error, and uses the generated stub."""

from typing import Annotated

import dashgate
from dashgate import v1


def tools() -> None:
    # region tools
    @dashgate.tool
    def weather(city: Annotated[str, "The name of the city."]) -> dict[str, str | int]:
        """Return the weather in a city, now."""
        return {"city": city, "sky": "clear", "celsius": 21}

    with dashgate.Client() as client:
        conversation = dashgate.Conversation("qwen3.6-plus").user("How is the weather in Oslo?")
        print(client.run_tools(conversation, [weather]).text)
    # endregion
    # region stream
    with dashgate.Client() as client:
        conversation.user("And in Bergen and Tromsø?")
        loop = client.stream_tools(conversation, [weather], parallel=True)
        for text in loop.text_deltas():
            print(text, end="", flush=True)
        print(f"\n{loop.final().usage.output_tokens} tokens out in the last round")
    # endregion


def errors() -> None:
    # region errors
    with dashgate.Client() as client:
        try:
            client.converse(dashgate.Conversation("qwen3.6-plus").user(dashgate.image("oss:no")))
        except dashgate.Error as error:
            print(error.code.name, error.raw_reason, error.message)
            for wrong in error.field_violations:
                print(f"  {wrong.field}: {wrong.description}")
            if error.retryable:
                print(f"  retry in {error.retry_after or 'some'} s")
            print(f"  request id {error.request_id}, DashScope's {error.upstream_request_id}")
    # endregion


def stubs() -> None:
    # region stubs
    with dashgate.Client() as client:
        request = v1.ConverseRequest(
            conversation=dashgate.Conversation("qwen3.6-plus").user("Hello!").raw,
            options=v1.GenerationOptions(temperature=0.2),
        )
        response = client.conversations.Converse(request, metadata=client.metadata, timeout=60)
        print(response.choices[0].message.content[0].text)
    # endregion


if __name__ == "__main__":
    tools()
    errors()
    stubs()
