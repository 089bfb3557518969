// The parts of a message: text, audio, images and video.
#ifndef DASHGATE_CONTENT_H_
#define DASHGATE_CONTENT_H_

#include <dashgate/v1/content.pb.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dashgate {

// Where a medium comes from. A string that begins with `http:`, `https:`, `oss:` or `data:` is a
// URI, any other string a path.
class Source {
 public:
  Source(const char* path_or_uri);
  Source(const std::string& path_or_uri);
  Source(std::string_view path_or_uri);
  Source(std::filesystem::path path);
  Source(const std::vector<std::uint8_t>& bytes);

  static Source file(std::filesystem::path path);
  static Source uri(std::string uri);
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

v1::Content text(std::string text);

// Each of these reads the file, so that a path is never sent; one that cannot be read throws
// std::filesystem::filesystem_error. Without a MIME type the first bytes tell it, then the
// extension, else it stays empty and the gateway tells. Hints such as `min_pixels` or `fps` are
// fields of the message that comes back.
v1::Content audio(const Source& source, std::string mime_type = {});
v1::Content image(const Source& source, std::string mime_type = {});
v1::Content video(const Source& source, std::string mime_type = {});
// A video as a list of frames.
v1::Content video(const std::vector<Source>& frames, const std::string& mime_type = {});

// The MIME type of a medium that begins with these bytes and has this name; empty if neither tells.
// The kind is the part that it is for, audio, image or video: it decides between the types of a
// container.
std::string sniff(std::string_view first_bytes, const std::filesystem::path& name = {},
                  std::string_view kind = {});

}  // namespace dashgate

#endif  // DASHGATE_CONTENT_H_
