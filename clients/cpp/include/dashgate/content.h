// The parts of a message: text, audio, images and video.
#ifndef DASHGATE_CONTENT_H_
#define DASHGATE_CONTENT_H_

#include <dashgate/v1/content.pb.h>

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dashgate {

/// The source of audio, an image or a video: a path, a URI, bytes or a reader. A string that begins
/// with `http:`, `https:`, `oss:` or `data:` is a URI, one that begins with `file:` is the path
/// that it names, and any other string is a path.
class Source {
 public:
  /// A path or a URI.
  Source(const char* path_or_uri);
  /// A path or a URI.
  Source(const std::string& path_or_uri);
  /// A path or a URI.
  Source(std::string_view path_or_uri);
  /// A path.
  Source(std::filesystem::path path);
  /// Bytes.
  Source(const std::vector<std::uint8_t>& bytes);
  /// An open file or another reader, which is read to its end. Throws std::ios_base::failure if it
  /// cannot be read.
  Source(std::istream& media);

  /// A path, whatever it looks like.
  static Source file(std::filesystem::path path);
  /// A URI of any scheme.
  static Source uri(std::string uri);
  /// Bytes.
  static Source bytes(std::string bytes);

 private:
  friend struct SourceAccess;
  struct Uri {
    std::string value;
  };
  struct Bytes {
    std::string value;
  };
  using Place = std::variant<std::filesystem::path, Uri, Bytes>;
  explicit Source(Place place);

  Place place_;
};

/// Returns a text part.
v1::Content text(std::string text);

/// Returns an audio part.
///
/// This function and those below read the file; its path is not sent. They throw
/// std::filesystem::filesystem_error, which has the path, if it cannot be read. A file of more than
/// 4 MiB is not read: Client::converse and Client::stream upload it before the call, and again only
/// if it has changed. Its part has a URI that is known to this process only.
///
/// The default MIME type is detected from the first bytes, then from the extension, else by the
/// gateway. Other fields, such as `min_pixels` or `fps`, can be set on the returned message.
v1::Content audio(const Source& source, std::string mime_type = {});
/// Returns an image part, as audio() does.
v1::Content image(const Source& source, std::string mime_type = {});
/// Returns a video part, as audio() does.
v1::Content video(const Source& source, std::string mime_type = {});
/// Returns a video part that is a list of frames.
v1::Content video(const std::vector<Source>& frames, const std::string& mime_type = {});

/// Returns the MIME type detected from the first bytes, else from the name; empty if neither
/// determines it. The kind is audio, image or video; it selects between the types of a container.
std::string sniff(std::string_view first_bytes, const std::filesystem::path& name = {},
                  std::string_view kind = {});

}  // namespace dashgate

#endif  // DASHGATE_CONTENT_H_
