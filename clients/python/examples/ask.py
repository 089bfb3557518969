"""Asks about an audio file."""

# region five-lines
import dashgate

WELCOME = "https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3"
with dashgate.Client() as client:
    conversation = dashgate.Conversation("qwen-audio-turbo")
    conversation.user(dashgate.audio(WELCOME), "What is said in this audio?")
    print(client.converse(conversation).text)
# endregion
