<?php
// Asks a question about a recording: php ask.php RECORDING.wav QUESTION
require 'vendor/autoload.php';

use Dashgate\V1\{Audio, Content, Conversation, ConversationServiceClient, ConverseStreamRequest, Message, Role};

$address = getenv('DASHGATE_ADDR') ?: '127.0.0.1:50051';
$client = new ConversationServiceClient($address, ['credentials' => Grpc\ChannelCredentials::createInsecure()]);
$audio = new Content(['audio' => new Audio(['data' => file_get_contents($argv[1])])]);
$user = new Message(['role' => Role::ROLE_USER, 'content' => [$audio, new Content(['text' => $argv[2]])]]);
$conversation = new Conversation(['model' => 'qwen-audio-turbo', 'messages' => [$user]]);
$request = new ConverseStreamRequest(['conversation' => $conversation]);
$call = $client->ConverseStream($request, [], ['timeout' => 60_000_000]);
foreach ($call->responses() as $response) {
    if ($response->hasDelta()) echo $response->getDelta()->getText();
}
$status = $call->getStatus();
if ($status->code !== Grpc\STATUS_OK) exit("$status->code: $status->details\n");
