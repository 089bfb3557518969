"""Gets an answer of a type, and a conversation from a list of messages."""

from dataclasses import dataclass

import dashgate


# region structured
@dataclass
class City:
    """A city and its rivers."""

    name: str
    people: int
    rivers: list[str]


def describe() -> None:
    with dashgate.Client() as client:
        conversation = dashgate.Conversation("qwen3-vl-plus").user("Describe Oslo as JSON.")
        city, answer = client.converse_as(City, conversation, repair=True)
        print(f"{city.name}: {city.people} people, {answer.usage.output_tokens} tokens out")


# endregion


def messages() -> None:
    # region messages
    conversation = dashgate.Conversation.from_messages(
        "qwen3-vl-plus",
        [
            {"role": "system", "content": "Answer in one sentence."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                    {"type": "text", "text": "What is it?"},
                ],
            },
        ],
    )
    saved = conversation.to_json()
    print(len(dashgate.Conversation.from_json(saved).raw.messages), "messages")
    # endregion


if __name__ == "__main__":
    messages()
    describe()
