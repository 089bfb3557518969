"""Chats on the terminal, with tools: one question per line."""

import datetime
import sys
from collections.abc import Iterable
from typing import Annotated

import dashgate


# region chat
@dashgate.tool
def clock(hours_from_utc: Annotated[int, "The time zone, such as 8 for Beijing."]) -> str:
    """Return the time in a time zone, now."""
    zone = datetime.timezone(datetime.timedelta(hours=hours_from_utc))
    return datetime.datetime.now(zone).isoformat()


def chat(questions: Iterable[str]) -> None:
    conversation = dashgate.Conversation("qwen3.6-plus", "Answer briefly.")
    with dashgate.Client() as client:
        for question in questions:
            before = len(conversation.raw.messages)
            conversation.user(question)
            try:
                for text in client.stream_tools(conversation, [clock]).text_deltas():
                    print(text, end="", flush=True)
                print()
            except dashgate.Error as error:
                print(error, file=sys.stderr)
                # The question can be asked again.
                del conversation.raw.messages[before:]


# endregion

if __name__ == "__main__":
    chat(line.strip() for line in sys.stdin)
