"""Asks a DashScope with its official SDK, and prints each answer as a line of JSON.

Arguments: a JSON object with `url`, `key`, and what MultiModalConversation.call takes.
"""

import json
import sys

import dashscope

asked = json.loads(sys.argv[1])
dashscope.base_http_api_url = asked.pop("url")
dashscope.api_key = asked.pop("key")

answer = dashscope.MultiModalConversation.call(**asked)
for one in answer if asked.get("stream") else [answer]:
    print(json.dumps(one, ensure_ascii=False))
