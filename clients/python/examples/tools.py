"""Runs a tool that the model calls, prints an error, and uses the generated stub."""

import json

import dashgate
from dashgate import v1


def tools() -> None:
    # region tools
    def weather(arguments: str) -> str:
        city = json.loads(arguments).get("city", "nowhere")
        return json.dumps({"city": city, "sky": "clear", "celsius": 21})

    tool = dashgate.Tool(
        "weather",
        "The weather in a city, now.",
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        weather,
    )
    with dashgate.Client() as client:
        conversation = dashgate.Conversation("qwen3.6-plus").user("How is the weather in Oslo?")
        print(client.run_tools(conversation, [tool]).text)
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
            if error.retry_after is not None:
                print(f"  retry in {error.retry_after} s")
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
