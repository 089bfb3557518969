"""Calls a method of dashgate.v1.ConversationService and prints what came of it, as JSON.

It knows no schema: the types come from the server's reflection, by the packages that
everybody uses. Arguments: address, method, message in JSON, deadline in seconds.
"""

import json
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

address, method, message, seconds = sys.argv[1:]
service = "dashgate.v1.ConversationService"

channel = grpc.insecure_channel(address)
pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
described = pool.FindServiceByName(service).methods_by_name[method]
request_class = message_factory.GetMessageClass(described.input_type)
reply_class = message_factory.GetMessageClass(described.output_type)

make = channel.unary_stream if described.server_streaming else channel.unary_unary
remote = make(
    f"/{service}/{method}",
    request_serializer=request_class.SerializeToString,
    response_deserializer=reply_class.FromString,
)
request = json_format.Parse(message, request_class(), descriptor_pool=pool)
result = {"replies": [], "code": "OK", "details": ""}
try:
    if described.server_streaming:
        call = remote(request, timeout=float(seconds))
        replies = list(call)
    else:
        reply, call = remote.with_call(request, timeout=float(seconds))
        replies = [reply]
    result["replies"] = [
        json_format.MessageToDict(reply, descriptor_pool=pool) for reply in replies
    ]
except grpc.RpcError as error:
    call = error
    result["code"] = error.code().name
    result["details"] = error.details()
metadata = [*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())]
result["trailers"] = {key: value for key, value in metadata if isinstance(value, str)}
print(json.dumps(result))
