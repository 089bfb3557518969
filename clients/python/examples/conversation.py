"""Asks about an audio file in several turns: `conversation.py [RECORDING]`."""

import pathlib
import sys

import dashgate
from dashgate import v1

SAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "sentence-en.wav"


def main(recording: str) -> None:
    with dashgate.Client() as client:
        # region conversation
        conversation = dashgate.Conversation("qwen-audio-turbo", system="Answer in one sentence.")
        conversation.user(dashgate.audio(recording), "What is said in this audio?")
        answer = client.converse(conversation)
        print(answer.text)

        conversation.append(answer).user("And who says it?")
        options = v1.GenerationOptions(temperature=0.2, max_tokens=500)
        print(client.converse(conversation, options=options).text)
        # endregion

        # region upload
        uploaded = client.upload("qwen-audio-turbo", recording)
        conversation = dashgate.Conversation("qwen-audio-turbo")
        conversation.user(dashgate.audio(uploaded.uri), "How long is this?")
        print(client.converse(conversation).text)
        # endregion


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(SAMPLE))
