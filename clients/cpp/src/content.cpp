#include <dashgate/content.h>

#include <array>
#include <istream>
#include <utility>

#include "attached_files.h"
#include "files.h"
#include "regular_file.h"

namespace dashgate {

Source::Source(const char* path_or_uri) : Source(std::string_view(path_or_uri)) {}
Source::Source(const std::string& path_or_uri) : Source(std::string_view(path_or_uri)) {}
Source::Source(std::string_view path_or_uri) : place_(std::filesystem::path(path_or_uri)) {
  constexpr std::array<std::string_view, 4> kSchemes{"http:", "https:", "oss:", "data:"};
  for (std::string_view scheme : kSchemes) {
    if (path_or_uri.substr(0, scheme.size()) == scheme) place_ = Uri{std::string(path_or_uri)};
  }
  if (path_or_uri.substr(0, 5) == "file:") place_ = detail::path_of_uri(path_or_uri);
}
Source::Source(std::filesystem::path path) : place_(std::move(path)) {}
Source::Source(const std::vector<std::uint8_t>& bytes)
    : place_(Bytes{std::string(bytes.begin(), bytes.end())}) {}
Source::Source(std::istream& media) {
  std::string bytes = media ? detail::read_all(media) : std::string();
  // The end of the media is no error, a file that was never opened is one.
  if (media.bad() || !media.eof()) {
    throw std::ios_base::failure("dashgate: the stream cannot be read");
  }
  place_ = Bytes{std::move(bytes)};
}
Source::Source(Place place) : place_(std::move(place)) {}

Source Source::file(std::filesystem::path path) { return Source(std::move(path)); }
Source Source::uri(std::string uri) { return Source(Place(Uri{std::move(uri)})); }
Source Source::bytes(std::string bytes) { return Source(Place(Bytes{std::move(bytes)})); }

namespace {

// The first bytes of a file, enough to detect its type.
constexpr std::size_t kStartBytes = 4096;

}  // namespace

// Sets the source of one of the three messages, which have the same fields for it.
struct SourceAccess {
  template <class Medium>
  static void fill(Medium& medium, const Source& source, std::string mime_type,
                   std::string_view kind) {
    if (const auto* uri = std::get_if<Source::Uri>(&source.place_)) {
      medium.set_uri(uri->value);
    } else if (const auto* bytes = std::get_if<Source::Bytes>(&source.place_)) {
      if (mime_type.empty()) mime_type = sniff(bytes->value, {}, kind);
      medium.set_data(bytes->value);
    } else {
      const auto& path = std::get<std::filesystem::path>(source.place_);
      detail::RegularFile file(path);
      const bool is_large = file.identity().size > detail::kMostInMessage;
      std::string data = is_large ? file.read(kStartBytes) : file.read_all();
      if (mime_type.empty()) mime_type = sniff(data, path, kind);
      if (is_large) {
        medium.set_uri(detail::AttachedFiles::of_process().add(
            {std::filesystem::absolute(path), file.identity()}));
      } else {
        medium.set_data(std::move(data));
      }
    }
    medium.set_mime_type(std::move(mime_type));
  }
};

v1::Content text(std::string text) {
  v1::Content content;
  content.set_text(std::move(text));
  return content;
}

v1::Content audio(const Source& source, std::string mime_type) {
  v1::Content content;
  SourceAccess::fill(*content.mutable_audio(), source, std::move(mime_type), "audio");
  return content;
}

v1::Content image(const Source& source, std::string mime_type) {
  v1::Content content;
  SourceAccess::fill(*content.mutable_image(), source, std::move(mime_type), "image");
  return content;
}

v1::Content video(const Source& source, std::string mime_type) {
  v1::Content content;
  SourceAccess::fill(*content.mutable_video(), source, std::move(mime_type), "video");
  return content;
}

v1::Content video(const std::vector<Source>& frames, const std::string& mime_type) {
  v1::Content content;
  v1::VideoFrames& list = *content.mutable_video()->mutable_frames();
  for (const Source& frame : frames) {
    SourceAccess::fill(*list.add_frames(), frame, mime_type, "image");
  }
  return content;
}

}  // namespace dashgate
