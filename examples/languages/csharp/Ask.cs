// Asks a question about a recording: dotnet run -- RECORDING.wav QUESTION
using Dashgate.V1;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

var address = Environment.GetEnvironmentVariable("DASHGATE_ADDR") ?? "127.0.0.1:50051";
using var channel = GrpcChannel.ForAddress($"http://{address}");
var client = new ConversationService.ConversationServiceClient(channel);
var recording = ByteString.CopyFrom(File.ReadAllBytes(args[0]));
var user = new Message { Role = Role.User };
user.Content.Add(new Content { Audio = new Audio { Data = recording } });
user.Content.Add(new Content { Text = args[1] });
var conversation = new Conversation { Model = "qwen-audio-turbo", Messages = { user } };
var request = new ConverseStreamRequest { Conversation = conversation };
using var call = client.ConverseStream(request, deadline: DateTime.UtcNow.AddSeconds(60));
await foreach (var response in call.ResponseStream.ReadAllAsync())
{
    Console.Write(response.Delta?.Text);
    if (response.Completed != null)
        Console.Error.WriteLine($"\n{response.Completed.Usage.OutputTokens} tokens");
}
