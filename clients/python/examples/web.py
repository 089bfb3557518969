"""An HTTP endpoint that streams an answer to a browser: `uvicorn web:app`."""

# region web
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

import dashgate


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with dashgate.AsyncClient() as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    conversation = dashgate.Conversation("qwen3.6-plus").user(question)

    async def events() -> AsyncIterator[str]:
        # The end of the `async with` cancels the call, also when the browser leaves.
        async with app.state.client.stream(conversation) as stream:
            try:
                async for text in stream.text_deltas():
                    yield f"data: {json.dumps(text)}\n\n"
                yield "event: end\ndata: {}\n\n"
            except dashgate.Error as error:
                failed = {"reason": error.raw_reason, "retryable": error.retryable}
                yield f"event: failed\ndata: {json.dumps(failed)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


# endregion
