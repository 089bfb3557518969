// An HTTP endpoint that streams an answer to a browser, and cancels it when the browser leaves.

// region endpoint
import express, { type Express } from "express";
import { Conversation, DashgateError, type Client } from "dashgate";

/** `GET /ask?q=...` sends server-sent events: a text each, then `done` or `failed`. */
export function endpoint(client: Client): Express {
  return express().get("/ask", async (request, response) => {
    const controller = new AbortController();
    response.on("close", () => {
      controller.abort(); // The answer was sent, or the browser has left.
    });
    response.set({ "content-type": "text/event-stream", "cache-control": "no-store" });
    const send = (event: string, data: unknown) =>
      response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    const question = new URL(request.url, "http://host").searchParams.get("q") ?? "";
    const conversation = new Conversation("qwen3-omni-flash").user(question);
    try {
      const stream = client.stream(conversation, { signal: controller.signal });
      for await (const words of stream.textDeltas()) {
        send("text", words);
      }
      send("done", (await stream.final()).usage?.outputTokens);
    } catch (error) {
      if (controller.signal.aborted) return;
      if (!(error instanceof DashgateError)) throw error;
      send("failed", error.rawReason || error.code); // The message is for the log.
    }
    response.end();
  });
}
// endregion
