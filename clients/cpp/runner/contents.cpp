#include "contents.h"

#include <dashgate/content.h>

#include <optional>

#include "arguments.h"
#include "json.h"

namespace runner {
namespace {

using google::protobuf::Value;
namespace v1 = dashgate::v1;

v1::Content read_medium(Object& spec, const std::string& kind, const std::string& uploaded) {
  std::optional<dashgate::Source> source;
  if (const auto path = spec.optional_text(kind + "_file")) {
    source = dashgate::Source::file(*path);
  } else if (const auto bytes_of = spec.optional_text(kind + "_bytes_of")) {
    source = dashgate::Source::bytes(read(*bytes_of));
  } else if (const auto uri = spec.optional_text(kind + "_uri")) {
    source = *uri;
  } else {
    source = uploaded;
  }
  const std::string mime_type = spec.optional_text("mime_type").value_or("");
  if (kind == "audio") return dashgate::audio(*source, mime_type);
  if (kind == "image") return dashgate::image(*source, mime_type);
  return dashgate::video(*source, mime_type);
}

v1::Content read_content(const Value& value, const std::string& uploaded) {
  Object spec = as_object(value, "content");
  v1::Content content;
  if (const auto text = spec.optional_text("text")) {
    content = dashgate::text(*text);
  } else if (spec.has("video_frames")) {
    std::vector<dashgate::Source> frames;
    for (const Value& frame : spec.list("video_frames")) {
      frames.push_back(dashgate::Source::file(frame.string_value()));
    }
    content = dashgate::video(frames, spec.optional_text("mime_type").value_or(""));
  } else if (const auto what = spec.optional_text("uploaded")) {
    content = read_medium(spec, *what, uploaded);
  } else {
    bool is_found = false;
    for (const std::string kind : {"audio", "image", "video"}) {
      if (spec.has(kind + "_file") || spec.has(kind + "_bytes_of") || spec.has(kind + "_uri")) {
        content = read_medium(spec, kind, uploaded);
        is_found = true;
      }
    }
    if (!is_found) throw Fault("a content names no kind");
  }
  spec.finish();
  return content;
}

}  // namespace

std::vector<v1::Content> read_contents(const std::vector<Value>& specs,
                                       const std::string& uploaded) {
  std::vector<v1::Content> contents;
  for (const Value& spec : specs) contents.push_back(read_content(spec, uploaded));
  return contents;
}

}  // namespace runner
