// Asks a question about a recording: Ask RECORDING.wav QUESTION
import com.google.protobuf.ByteString
import io.dashgate.v1.*
import io.grpc.ManagedChannelBuilder
import java.nio.file.*
import java.util.concurrent.TimeUnit
import kotlinx.coroutines.runBlocking

fun main(arguments: Array<String>) = runBlocking<Unit> {
  val address = System.getenv("DASHGATE_ADDR") ?: "127.0.0.1:50051"
  val channel = ManagedChannelBuilder.forTarget(address).usePlaintext().build()
  val stub = ConversationServiceGrpcKt.ConversationServiceCoroutineStub(channel)
  val recording = ByteString.copyFrom(Files.readAllBytes(Path.of(arguments[0])))
  val user = Message.newBuilder().setRole(Role.ROLE_USER)
  user.addContentBuilder().audioBuilder.setData(recording)
  user.addContentBuilder().setText(arguments[1])
  val conversation = Conversation.newBuilder().setModel("qwen-audio-turbo").addMessages(user)
  val request = ConverseStreamRequest.newBuilder().setConversation(conversation).build()
  stub.withDeadlineAfter(60, TimeUnit.SECONDS).converseStream(request).collect {
    if (it.hasDelta()) print(it.delta.text)
    if (it.hasCompleted()) System.err.println("\n${it.completed.usage.outputTokens} tokens")
  }
  channel.shutdown().awaitTermination(5, TimeUnit.SECONDS)
}
