// The upload of the large files of a conversation.
#include <dashgate/error.h>

#include <utility>
#include <vector>

#include "attached_files.h"
#include "call.h"
#include "client_impl.h"
#include "query.h"

namespace dashgate {
namespace {

// Returns the URIs of files in a conversation, to be replaced.
std::vector<std::string*> find_files(v1::Conversation& conversation) {
  std::vector<std::string*> uris;
  const auto add = [&](auto& medium) {
    if (medium.has_uri() && detail::AttachedFiles::is_uri(medium.uri())) {
      uris.push_back(medium.mutable_uri());
    }
  };
  for (v1::Message& message : *conversation.mutable_messages()) {
    for (v1::Content& part : *message.mutable_content()) {
      if (part.has_audio()) add(*part.mutable_audio());
      if (part.has_image()) add(*part.mutable_image());
      if (!part.has_video()) continue;
      add(*part.mutable_video());
      if (!part.video().has_frames()) continue;
      for (v1::Image& frame : *part.mutable_video()->mutable_frames()->mutable_frames()) add(frame);
    }
  }
  return uris;
}

}  // namespace

std::string Client::Impl::model_of(const v1::Conversation& conversation, const CallOptions& options,
                                   const detail::Deadline& deadline) {
  if (!conversation.model().empty() || conversation.name().empty()) return conversation.model();
  // A stored conversation has a model of its own.
  QueryOptions query;
  query.metadata = options.metadata;
  query.metadata.erase("x-request-id");
  query.cancellation = options.cancellation;
  v1::GetConversationRequest request;
  request.set_name(conversation.name());
  return detail::query<v1::GetConversationResponse>(
             *this, query, deadline, "GetConversation",
             [&](grpc::ClientContext& context, v1::GetConversationResponse& response) {
               return connection()->conversations->GetConversation(&context, request, &response);
             })
      .conversation()
      .model();
}

void Client::Impl::upload_files(v1::Conversation& conversation, const CallOptions& options,
                                const std::string& request_id, const detail::Deadline& deadline) {
  const std::vector<std::string*> uris = find_files(conversation);
  if (uris.empty()) return;
  std::vector<std::filesystem::path> files;
  for (const std::string* uri : uris) {
    const auto file = detail::AttachedFiles::of_process().find(*uri);
    if (!file) {
      throw detail::make_error(grpc::StatusCode::INVALID_ARGUMENT,
                               "another process attached the file `" + *uri +
                                   "`, or too many were attached after it: attach it again",
                               request_id);
    }
    files.push_back(*file);
  }
  UploadOptions of_upload;
  of_upload.metadata = options.metadata;
  of_upload.metadata.erase("x-request-id");
  of_upload.cancellation = options.cancellation;
  const std::string model = model_of(conversation, options, deadline);
  for (std::size_t at = 0; at < files.size(); ++at) {
    const auto key = detail::UploadKey::of(files[at], model);
    std::optional<std::string> uri = uploads_.find(key);
    if (!uri) {
      const v1::UploadMediaResponse uploaded = upload(model, files[at], of_upload, deadline);
      uploads_.add(key, uploaded);
      uri = uploaded.uri();
    }
    *uris[at] = *std::move(uri);
  }
}

}  // namespace dashgate
