#include <dashgate/content.h>
#include <dashgate/error.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <istream>
#include <optional>
#include <stdexcept>
#include <utility>

#include "call.h"
#include "client_impl.h"
#include "regular_file.h"
#include "unreachable.h"

namespace dashgate {
namespace {

constexpr std::size_t kChunkBytes = 256 * 1024;

// Returns the next chunk; an empty one is the end.
using Pieces = std::function<std::string()>;

struct Medium {
  Pieces pieces;
  std::optional<std::uintmax_t> size;
};

// Returns the remaining size of a stream, if it can report it.
std::optional<std::uintmax_t> size_of(std::istream& media) {
  const std::istream::pos_type here = media.tellg();
  if (here == std::istream::pos_type(-1)) {
    media.clear(media.rdstate() & ~std::ios::failbit);
    return std::nullopt;
  }
  media.seekg(0, std::ios::end);
  const std::istream::pos_type end = media.tellg();
  media.clear(media.rdstate() & ~std::ios::failbit);
  media.seekg(here);
  if (end == std::istream::pos_type(-1) || end < here) return std::nullopt;
  return static_cast<std::uintmax_t>(end - here);
}

std::string read_piece(std::istream& media) {
  std::string piece(kChunkBytes, '\0');
  media.read(piece.data(), static_cast<std::streamsize>(piece.size()));
  piece.resize(static_cast<std::size_t>(media.gcount()));
  return piece;
}

v1::MediaDescription describe(const std::string& model, const Medium& medium,
                              const std::string& first_piece, const UploadOptions& options) {
  v1::MediaDescription description;
  description.set_model(model);
  description.set_name(options.name);
  description.set_mime_type(options.mime_type.empty() ? sniff(first_piece, options.name)
                                                      : options.mime_type);
  if (medium.size) description.set_size_bytes(static_cast<std::int64_t>(*medium.size));
  return description;
}

// Sends all chunks, or until the gateway ends the call; its status has the reason.
void send(grpc::ClientWriterInterface<v1::UploadMediaRequest>& writer,
          v1::MediaDescription description, std::string piece, const Pieces& pieces) {
  v1::UploadMediaRequest request;
  *request.mutable_description() = std::move(description);
  while (writer.Write(request) && !piece.empty()) {
    request.set_chunk(std::move(piece));
    piece = pieces();
    if (piece.empty()) {
      writer.WriteLast(request, grpc::WriteOptions());
      return;
    }
  }
  writer.WritesDone();
}

v1::UploadMediaResponse send_medium(detail::Connection& to, detail::Call& call,
                                    const std::string& request_id, const std::string& model,
                                    const Medium& medium, const UploadOptions& options) {
  // Read first, so that an unreadable file makes no call.
  std::string first_piece = medium.pieces();
  v1::MediaDescription description = describe(model, medium, first_piece, options);
  v1::UploadMediaResponse response;
  const auto writer = to.media->UploadMedia(&call.context(), &response);
  try {
    send(*writer, std::move(description), std::move(first_piece), medium.pieces);
  } catch (...) {
    // Reading failed: the gateway must not take the chunks sent so far for the whole file.
    call.context().TryCancel();
    writer->Finish();
    throw;
  }
  const grpc::Status status = writer->Finish();
  if (!status.ok()) throw detail::call_error(status, call, request_id, *to.channel);
  return response;
}

template <class Impl>
v1::UploadMediaResponse upload_medium(Impl& client, const std::string& model, const Medium& medium,
                                      const UploadOptions& options,
                                      const detail::Deadline& deadline) {
  const std::string given = detail::given_id(options.request_id, options.metadata);
  const std::string request_id = given.empty() ? detail::make_uuid() : given;
  detail::Call call(client.metadata, detail::with_request_id(options.metadata, request_id),
                    deadline, options.cancellation);
  detail::CallLog log(client.log, "UploadMedia", request_id);
  try {
    const auto lease = client.connect(deadline, options.cancellation, request_id);
    auto response = send_medium(lease->connection(), call, request_id, model, medium, options);
    log.succeed();
    return response;
  } catch (const Error& error) {
    log.fail(error);
    throw;
  }
}

}  // namespace

v1::UploadMediaResponse Client::Impl::upload(const std::string& model, detail::RegularFile& file,
                                             const UploadOptions& options,
                                             const detail::Deadline& deadline) {
  Medium medium;
  medium.size = file.identity().size;
  medium.pieces = [&file] { return file.read(kChunkBytes); };
  UploadOptions named = options;
  if (named.name.empty()) named.name = file.path().filename().string();
  return upload_medium(*this, model, medium, named, deadline);
}

v1::UploadMediaResponse Client::upload(const std::string& model, const std::filesystem::path& path,
                                       const UploadOptions& options) const {
  detail::RegularFile file(path);
  return impl_->upload(model, file, options, impl_->unary_deadline(options.timeout));
}

v1::UploadMediaResponse Client::upload(const std::string& model, std::istream& media,
                                       const UploadOptions& options) const {
  Medium medium;
  medium.size = size_of(media);
  medium.pieces = [&media] {
    std::string piece = read_piece(media);
    if (media.bad()) throw std::ios_base::failure("dashgate: the stream cannot be read");
    return piece;
  };
  return upload_medium(*impl_, model, medium, options, impl_->unary_deadline(options.timeout));
}

v1::UploadMediaResponse Client::upload_bytes(const std::string& model, std::string_view bytes,
                                             const UploadOptions& options) const {
  Medium medium;
  medium.size = bytes.size();
  medium.pieces = [bytes]() mutable {
    std::string piece(bytes.substr(0, kChunkBytes));
    bytes.remove_prefix(piece.size());
    return piece;
  };
  return upload_medium(*impl_, model, medium, options, impl_->unary_deadline(options.timeout));
}

}  // namespace dashgate
