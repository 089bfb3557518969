"""Calls an OpenAI-style server with the official package, and prints each result as a line of JSON.

Arguments: a JSON object with `url`, `key`, the method `call`, and `with`, its arguments. An error
of the package is printed with its class.
"""

import json
import sys

import openai

asked = json.loads(sys.argv[1])
client = openai.OpenAI(base_url=asked["url"], api_key=asked["key"], max_retries=0, timeout=60)
arguments = asked.get("with", {})


def show(value):
    print(json.dumps(value, ensure_ascii=False))


def call():
    completions = client.chat.completions
    match asked["call"]:
        case "create":
            show(completions.create(**arguments).model_dump())
        case "chunks":
            for chunk in completions.create(stream=True, **arguments):
                show(chunk.model_dump())
        case "stream":
            # The package accumulates the deltas, and fails if they do not fit together.
            with completions.stream(**arguments) as stream:
                for _ in stream:
                    pass
                show(stream.get_final_completion().model_dump())
        case "models":
            for model in client.models.list():
                show(model.model_dump())
        case "model":
            show(client.models.retrieve(**arguments).model_dump())


try:
    call()
except openai.APIError as error:
    show(
        {
            "class": type(error).__name__,
            "status": getattr(error, "status_code", None),
            "code": error.code,
            "param": error.param,
            "type": error.type,
            "message": error.message,
            "request_id": getattr(error, "request_id", None),
        }
    )
