// How a medium's MIME type is told. The tables are those of tests/conformance/sniffing.json, which
// a test holds them to.
#ifndef DASHGATE_SRC_SNIFFING_H_
#define DASHGATE_SRC_SNIFFING_H_

#include <array>
#include <string_view>
#include <utility>

namespace dashgate::detail {

struct Magic {
  std::string_view bytes;  // a dot is any byte: no format has a dot of its own there
  std::string_view mime_type;
};

using namespace std::string_view_literals;

inline constexpr std::array kMagic{
    Magic{"RIFF....WAVE"sv, "audio/wav"sv},
    Magic{"RIFF....WEBP"sv, "image/webp"sv},
    Magic{"RIFF....AVI "sv, "video/x-msvideo"sv},
    Magic{"ID3"sv, "audio/mpeg"sv},
    Magic{"fLaC"sv, "audio/flac"sv},
    Magic{"OggS"sv, "audio/ogg"sv},
    Magic{"#!AMR"sv, "audio/amr"sv},
    Magic{"\xff\xf1"sv, "audio/aac"sv},
    Magic{"\xff\xf9"sv, "audio/aac"sv},
    Magic{"\xff\xfb"sv, "audio/mpeg"sv},
    Magic{"\xff\xfa"sv, "audio/mpeg"sv},
    Magic{"\xff\xf3"sv, "audio/mpeg"sv},
    Magic{"\xff\xf2"sv, "audio/mpeg"sv},
    Magic{"....ftypM4A"sv, "audio/mp4"sv},
    Magic{"....ftypheic"sv, "image/heic"sv},
    Magic{"....ftypqt"sv, "video/quicktime"sv},
    Magic{"....ftyp"sv, "video/mp4"sv},
    Magic{"\x89PNG\r\n\x1a\n"sv, "image/png"sv},
    Magic{"\xff\xd8\xff"sv, "image/jpeg"sv},
    Magic{"GIF8"sv, "image/gif"sv},
    Magic{"BM"sv, "image/bmp"sv},
    Magic{"II*\0"sv, "image/tiff"sv},
    Magic{"MM\0*"sv, "image/tiff"sv},
    Magic{"\x1a\x45\xdf\xa3"sv, "video/webm"sv},
    Magic{"FLV\x01"sv, "video/x-flv"sv},
};

inline constexpr std::array kExtensions{
    std::pair{"wav"sv, "audio/wav"sv},       std::pair{"mp3"sv, "audio/mpeg"sv},
    std::pair{"flac"sv, "audio/flac"sv},     std::pair{"ogg"sv, "audio/ogg"sv},
    std::pair{"opus"sv, "audio/opus"sv},     std::pair{"amr"sv, "audio/amr"sv},
    std::pair{"aac"sv, "audio/aac"sv},       std::pair{"m4a"sv, "audio/mp4"sv},
    std::pair{"pcm"sv, "audio/pcm"sv},       std::pair{"png"sv, "image/png"sv},
    std::pair{"jpg"sv, "image/jpeg"sv},      std::pair{"jpeg"sv, "image/jpeg"sv},
    std::pair{"gif"sv, "image/gif"sv},       std::pair{"bmp"sv, "image/bmp"sv},
    std::pair{"webp"sv, "image/webp"sv},     std::pair{"tif"sv, "image/tiff"sv},
    std::pair{"tiff"sv, "image/tiff"sv},     std::pair{"heic"sv, "image/heic"sv},
    std::pair{"mp4"sv, "video/mp4"sv},       std::pair{"mov"sv, "video/quicktime"sv},
    std::pair{"avi"sv, "video/x-msvideo"sv}, std::pair{"mkv"sv, "video/x-matroska"sv},
    std::pair{"webm"sv, "video/webm"sv},     std::pair{"flv"sv, "video/x-flv"sv},
};

}  // namespace dashgate::detail

#endif  // DASHGATE_SRC_SNIFFING_H_
