# Asks a question about a recording: ruby ask.rb RECORDING.wav QUESTION
require "grpc"
require "dashgate/v1/conversation_service_services_pb"

include Dashgate::V1
address = ENV.fetch("DASHGATE_ADDR", "127.0.0.1:50051")
stub = ConversationService::Stub.new(address, :this_channel_is_insecure)
audio = Content.new(audio: Audio.new(data: File.binread(ARGV[0])))
user = Message.new(role: :ROLE_USER, content: [audio, Content.new(text: ARGV[1])])
conversation = Conversation.new(model: "qwen-audio-turbo", messages: [user])
request = ConverseStreamRequest.new(conversation: conversation)
stub.converse_stream(request, deadline: Time.now + 60).each do |response|
  print response.delta.text if response.event == :delta
  warn "\n#{response.completed.usage.output_tokens} tokens" if response.event == :completed
end
