// Media that are written into a text.
#ifndef DASHGATE_SRC_DATA_URI_H_
#define DASHGATE_SRC_DATA_URI_H_

#include <optional>
#include <string>
#include <string_view>

namespace dashgate::detail {

// Returns whether a URI has a scheme, in any case. `scheme` is in lower case and has its colon.
bool has_scheme(std::string_view uri, std::string_view scheme);

// Returns the bytes of a text in base64, with or without its padding. Returns nothing if it is not
// base64.
std::optional<std::string> decode_base64(std::string_view text);

// The content of a `data:` URI.
struct DataUri {
  std::string mime_type;  // may be empty
  std::string bytes;
};

// Parses a `data:` URI. Returns nothing if it is invalid.
std::optional<DataUri> parse_data_uri(std::string_view uri);

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_DATA_URI_H_
