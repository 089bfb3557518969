// Asks a question about a recording: ask RECORDING.wav QUESTION
import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2

let recording = try Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1]))
let user = DashgateV1Message.with {
  $0.role = .user
  $0.content = [.with { $0.audio.data = recording }, .with { $0.text = CommandLine.arguments[2] }]
}
let request = DashgateV1ConverseStreamRequest.with {
  $0.conversation.model = "qwen-audio-turbo"
  $0.conversation.messages = [user]
}
let transport = try HTTP2ClientTransport.Posix(
  target: .ipv4(address: "127.0.0.1", port: 50051), transportSecurity: .plaintext)
try await withGRPCClient(transport: transport) { client in
  let conversations = DashgateV1ConversationService.Client(wrapping: client)
  var options = CallOptions.defaults
  options.timeout = .seconds(60)
  try await conversations.converseStream(request, options: options) { response in
    for try await event in response.messages { print(event.delta.text, terminator: "") }
  }
}
