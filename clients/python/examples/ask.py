"""Asks one question."""

# region five-lines
import dashgate

with dashgate.Client() as client:
    conversation = dashgate.Conversation("qwen-plus").user("Say hello to a new listener.")
    print(client.converse(conversation).text)
# endregion
