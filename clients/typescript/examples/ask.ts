// Asks about a sound, and prints the answer. It needs nothing but `dashgate serve`.

// region five-lines
import { audio, Client, Conversation } from "dashgate";

const sound = await audio("https://dashscope.oss-cn-beijing.aliyuncs.com/audios/welcome.mp3");
const conversation = new Conversation("qwen-audio-turbo").user(sound, "What is said here?");
const answer = await new Client().converse(conversation);
console.log(answer.text);
// endregion
