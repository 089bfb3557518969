"""Waits for the rate limits of the gateway and of DashScope."""

import dashgate


# region throttled
def ask(client: dashgate.Client, question: str) -> str | None:
    conversation = dashgate.Conversation("qwen3.6-plus").user(question)
    try:
        # Made again after the time that the gateway sends, if the deadline is later than that.
        return client.converse(conversation, max_retries=5, timeout=120).text
    except dashgate.Error as error:
        if error.retryable:
            wait = "soon" if error.retry_after is None else f"in {error.retry_after:g} s"
            print(f"{error.raw_reason or error.code.name}: ask again {wait}")
            return None
        raise


# endregion

if __name__ == "__main__":
    with dashgate.Client() as client:
        print(ask(client, "What time is it?"))
