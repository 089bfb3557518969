"""Continues a conversation that the gateway stores: `stored.py [NAME]`. It needs a store."""

import sys

import dashgate


def main(name: str) -> None:
    # region stored
    with dashgate.Client() as client:
        conversation = dashgate.Conversation(name=name)
        conversation.user("My name is Ada.")
        conversation.append(client.converse(conversation)).user("What is my name?")
        answer = client.converse(conversation)
        print(answer.text, "in turn", answer.raw.history_used.turn)
    # endregion
    # region management
    with dashgate.Client() as client:
        copy = client.fork_conversation(name, last_turn=1)
        client.update_conversation(copy.name, labels={"kind": "copy"}, ttl=24 * 3600)
        for turn in client.list_turns(name, newest_first=True):
            print(turn.number, turn.answer.content[0].text)
        client.delete_conversation(copy.name)
    # endregion


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with dashgate.Client() as creator:
            main(creator.create_conversation(model="qwen3.6-plus").name)
