// Talks to a model with a recording, and has a text spoken: `live RECORDING`.
import { readFile } from "node:fs/promises";
import { Client } from "dashgate";

const recording = process.argv[2];
if (recording === undefined) throw new Error("give a recording, WAV at 16 kHz");
// The samples follow a header of 44 bytes. The silence after them ends the turn.
const audio = Buffer.concat([(await readFile(recording)).subarray(44), Buffer.alloc(38_400)]);
const speech: Uint8Array[] = [];
const bytes = () => speech.reduce((sum, piece) => sum + piece.length, 0);

// region live
using client = new Client();
using session = client.live("qwen3-omni-flash-realtime");

async function microphone() {
  for (let at = 0; at < audio.length; at += 3200) {
    await session.sendAudio(audio.subarray(at, at + 3200)); // 16-bit PCM at 16 kHz.
  }
  session.finish();
}

const speaking = microphone();
for await (const { event } of session) {
  if (event.case === "speechStarted") {
    // Stop playing: the running answer is cancelled.
  } else if (event.case === "inputTranscript" && event.value.final) {
    console.log("You:", event.value.text);
  } else if (event.case === "responseStarted") {
    process.stdout.write("Model: ");
  } else if (event.case === "responseDelta" && event.value.part.case === "transcript") {
    process.stdout.write(event.value.part.value);
  } else if (event.case === "responseDelta" && event.value.part.case === "audio") {
    speech.push(event.value.part.value); // PCM at 24 kHz: play it.
  } else if (event.case === "responseCompleted") {
    console.log();
  }
}
await speaking;
// endregion
console.log(`${bytes()} bytes of speech`);

// region speak
using spoken = client.speak({ model: "qwen3-tts-flash-realtime", voice: "Cherry" });
for (const text of ["The text is spoken ", "while it is written."]) {
  await spoken.sendText(text);
}
spoken.finish();
for await (const piece of spoken.audio()) {
  speech.push(piece);
}
// endregion
console.log(`${bytes()} bytes of speech`);
