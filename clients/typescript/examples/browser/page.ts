// A page that streams an answer into its document. Bundle it (`npm run bundle`), serve this folder, and
// open it with the gateway's address: `index.html?gateway=http://127.0.0.1:50051`. The gateway must
// allow the page's origin.

// region browser
import { audio, Client, Conversation, DashgateError } from "dashgate/web";

const gateway = new URLSearchParams(location.search).get("gateway") ?? location.origin;
const client = new Client(gateway);

async function ask(model: string, question: string, file: File | undefined, signal: AbortSignal) {
  const conversation = new Conversation(model).user(question);
  if (file !== undefined) conversation.user(await audio(file));
  const stream = client.stream(conversation, { signal });
  for await (const words of stream.textDeltas()) {
    place("answer").append(words);
  }
  const { usage } = await stream.final();
  place("usage").append(`${usage?.inputTokens ?? "?"} in, ${usage?.outputTokens ?? "?"} out`);
}
// endregion

let controller = new AbortController();

place("form").addEventListener("submit", (event) => {
  event.preventDefault();
  controller.abort();
  controller = new AbortController();
  void shown(controller.signal);
});

place("stop").addEventListener("click", () => {
  controller.abort();
});

/** Sends the question and displays the result. */
async function shown(signal: AbortSignal): Promise<void> {
  for (const id of ["answer", "usage", "error"]) {
    place(id).textContent = "";
  }
  place("state").textContent = "asking";
  try {
    const file = input("sound").files?.[0];
    await ask(input("model").value, input("question").value, file, signal);
    place("state").textContent = "done";
  } catch (error) {
    if (signal.aborted) {
      place("state").textContent = "stopped";
      return;
    }
    const prefix = error instanceof DashgateError ? `${error.code} ${error.rawReason}: ` : "";
    place("error").textContent = prefix + (error instanceof Error ? error.message : String(error));
    place("state").textContent = "failed";
  }
}

function place(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (element === null) {
    throw new Error(`the page has no #${id}`);
  }
  return element;
}

function input(id: string): HTMLInputElement {
  return place(id) as HTMLInputElement;
}
