// The upload of the large files of a conversation.
#include <dashgate/error.h>

#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "attached_files.h"
#include "call.h"
#include "client_impl.h"
#include "query.h"
#include "regular_file.h"

namespace dashgate {
namespace {

// A part that names a file, by a URI that is to be replaced.
struct Part {
  std::string* uri;
  std::string mime_type;
  detail::AttachedFile file;
};

// Returns the file of a URI. Throws Error if it is not known.
detail::AttachedFile find_file(const std::string& uri, const std::string& request_id) {
  auto file = detail::AttachedFiles::of_process().find(uri);
  if (file) return *std::move(file);
  throw detail::make_error(grpc::StatusCode::INVALID_ARGUMENT,
                           "another process attached the file `" + uri +
                               "`, or too many were attached after it: attach it again",
                           request_id);
}

std::vector<Part> find_parts(v1::Conversation& conversation, const std::string& request_id) {
  std::vector<Part> parts;
  const auto add = [&](auto& medium) {
    if (!medium.has_uri() || !detail::AttachedFiles::is_uri(medium.uri())) return;
    parts.push_back(
        {medium.mutable_uri(), medium.mime_type(), find_file(medium.uri(), request_id)});
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
  return parts;
}

Error has_changed(const detail::AttachedFile& attached, const std::string& request_id) {
  return detail::make_error(grpc::StatusCode::INVALID_ARGUMENT,
                            "the file `" + attached.path.string() +
                                "` has changed since it was attached: attach it again",
                            request_id);
}

// Opens a file and passes it to a function. Throws Error unless it is the one that was attached.
template <class Use>
auto with_file(const detail::AttachedFile& attached, const std::string& request_id,
               const Use& use) {
  std::optional<detail::RegularFile> file;
  try {
    file.emplace(attached.path);
  } catch (const std::filesystem::filesystem_error& error) {
    const bool is_other = error.code() == std::errc::is_a_directory ||
                          error.code() == std::errc::not_supported ||
                          error.code() == std::errc::no_such_device_or_address;
    if (!is_other) throw;
    throw has_changed(attached, request_id);
  }
  if (!(file->identity() == attached.identity)) throw has_changed(attached, request_id);
  return use(*file);
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
             [&](detail::Connection& to, grpc::ClientContext& context,
                 v1::GetConversationResponse& response) {
               return to.conversations->GetConversation(&context, request, &response);
             })
      .conversation()
      .model();
}

void Client::Impl::upload_files(v1::Conversation& conversation, const CallOptions& options,
                                const std::string& request_id, const detail::Deadline& deadline) {
  const std::vector<Part> parts = find_parts(conversation, request_id);
  if (parts.empty()) return;
  // Before anything is sent.
  for (const Part& part : parts) {
    with_file(part.file, request_id, [](const detail::RegularFile&) {});
  }
  UploadOptions of_upload;
  of_upload.metadata = options.metadata;
  of_upload.metadata.erase("x-request-id");
  of_upload.cancellation = options.cancellation;
  const std::string model = model_of(conversation, options, deadline);
  for (const Part& part : parts) {
    of_upload.mime_type = part.mime_type;
    const auto make = [&] {
      // What is read is what was checked.
      return with_file(part.file, request_id, [&](detail::RegularFile& file) {
        return upload(model, file, of_upload, deadline);
      });
    };
    const auto late = [&] {
      channel();
      return pool_->late(request_id);
    };
    *part.uri = uploads_.get({part.file.identity, model, part.mime_type}, make, late, deadline,
                             options.cancellation, request_id);
  }
}

}  // namespace dashgate
