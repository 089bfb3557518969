// The parts of messages in the form of OpenAI or DashScope.
#include <dashgate/content.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "data_uri.h"
#include "message_list.h"

namespace dashgate::detail {
namespace {

bool is_remote(std::string_view uri) {
  constexpr std::array<std::string_view, 3> kSchemes{"http:", "https:", "oss:"};
  return std::any_of(kSchemes.begin(), kSchemes.end(),
                     [uri](std::string_view scheme) { return has_scheme(uri, scheme); });
}

// Sets bytes and their type; without a type, it is that of the name, or detected.
template <class Medium>
void set_bytes(Medium& medium, std::string bytes, std::string type, const std::string& name,
               const char* kind) {
  if (type.empty()) type = sniff({}, name, kind);
  if (type.empty()) type = sniff(bytes, {}, kind);
  medium.set_data(std::move(bytes));
  medium.set_mime_type(std::move(type));
}

// Reads a URI. A list may come from somewhere else, and must not name a file of this machine.
template <class Medium>
void read_uri(Medium& medium, const Located& from, const char* kind, const std::string& name = {}) {
  const std::string& uri = from.text();
  if (has_scheme(uri, "data:")) {
    std::optional<DataUri> data = parse_data_uri(uri);
    if (!data) from.refuse("it is not a valid data: URI");
    if (data->bytes.empty()) from.refuse("it has no data");
    set_bytes(medium, std::move(data->bytes), std::move(data->mime_type), name, kind);
  } else if (is_remote(uri)) {
    medium.set_uri(uri);
  } else {
    from.refuse("it is not a URI with http:, https:, oss: or data:");
  }
}

// Reads a URI, or a list of those of images.
void read_video(v1::Video& video, const Located& list) {
  if (list.is_text()) return read_uri(video, list, "video");
  v1::VideoFrames& frames = *video.mutable_frames();
  const std::vector<Located> items = list.items();
  if (items.empty()) list.refuse("it has no images");
  for (const Located& frame : items) read_uri(*frames.add_frames(), frame, "image");
}

// Reads OpenAI's `input_audio`, whose data are a URI or base64.
void read_input_audio(v1::Audio& audio, const Located& input) {
  input.check_keys({"data", "format"});
  const Located data = input.at("data");
  const auto format = input.find("format");
  const std::string name = format ? "audio." + format->text() : std::string();
  if (data.text().find(':') != std::string::npos) return read_uri(audio, data, "audio", name);
  std::optional<std::string> bytes = decode_base64(data.text());
  if (!bytes) data.refuse("it is neither base64 nor a URI");
  if (bytes->empty()) data.refuse("it has no data");
  set_bytes(audio, *std::move(bytes), {}, name, "audio");
}

// Reads the URL of a part such as `{"type": "image_url", "image_url": {"url": "..."}}`.
template <class Medium>
void read_url(Medium& medium, const Located& part, const std::string& key, const char* kind) {
  const Located object = part.at(key);
  if (key == "image_url") {
    // DashScope has no choice of the detail.
    object.check_keys({"url", "detail"});
  } else {
    object.check_keys({"url"});
  }
  read_uri(medium, object.at("url"), kind);
}

v1::Content read_typed(const Located& part, const Located& of_type) {
  const std::string& type = of_type.text();
  v1::Content content;
  if (type == "text") {
    content.set_text(part.at(type).text());
  } else if (type == "image_url") {
    read_url(*content.mutable_image(), part, type, "image");
  } else if (type == "video_url") {
    read_url(*content.mutable_video(), part, type, "video");
  } else if (type == "input_audio") {
    read_input_audio(*content.mutable_audio(), part.at(type));
  } else if (type == "video") {
    read_video(*content.mutable_video(), part.at(type));
  } else {
    of_type.refuse("it is not text, image_url, input_audio, video_url or video");
  }
  part.check_keys({"type", type});
  return content;
}

}  // namespace

v1::Content read_part(const Located& part) {
  if (const auto type = part.find("type")) return read_typed(part, *type);
  part.check_keys({"text", "audio", "image", "video"});
  const auto text = part.find("text");
  const auto audio = part.find("audio");
  const auto image = part.find("image");
  const auto video = part.find("video");
  if (int{text.has_value()} + int{audio.has_value()} + int{image.has_value()} +
          int{video.has_value()} !=
      1) {
    part.refuse("it does not have one of text, audio, image and video");
  }
  v1::Content content;
  if (text) content.set_text(text->text());
  if (audio) read_uri(*content.mutable_audio(), *audio, "audio");
  if (image) read_uri(*content.mutable_image(), *image, "image");
  if (video) read_video(*content.mutable_video(), *video);
  return content;
}

}  // namespace dashgate::detail
