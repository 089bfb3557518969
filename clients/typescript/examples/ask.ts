// Asks about an audio file, and prints the answer. It requires only `dashgate serve`.

// region five-lines
import { audio, Client, Conversation } from "dashgate";

const recording = await audio("https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3");
const conversation = new Conversation("qwen-audio-turbo").user(recording, "What is said here?");
const answer = await new Client().converse(conversation);
console.log(answer.text);
// endregion
