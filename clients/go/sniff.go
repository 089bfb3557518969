package dashgate

import (
	"cmp"
	"encoding/hex"
	"path/filepath"
	"strconv"
	"strings"
)

// sniff returns a MIME type detected from the first bytes, else from the name; empty if neither
// determines it. The kind is audio, image or video; it selects between the types of a container.
func sniff(head []byte, name, kind string) string {
	named := extensions[strings.ToLower(strings.TrimPrefix(filepath.Ext(name), "."))]
	if kind == "" {
		kind, _, _ = strings.Cut(named, "/")
	}
	types := strings.Fields(cmp.Or(byBytes(head), named))
	for _, mimeType := range types {
		if top, _, _ := strings.Cut(mimeType, "/"); top == kind {
			return mimeType
		}
	}
	if len(types) == 0 {
		return ""
	}
	return types[0]
}

// byBytes returns the types of the first matching rule.
func byBytes(head []byte) string {
	for _, rule := range rules {
		holds := true
		for condition := range strings.SplitSeq(rule.match, " ") {
			holds = holds && stands(condition, head)
		}
		if holds {
			return rule.types
		}
	}
	return ""
}

// stands reports whether a condition matches: OFFSET:HEX, OFFSET-LAST:HEX or OFFSET:HEX/MASK.
func stands(condition string, head []byte) bool {
	place, pattern, _ := strings.Cut(condition, ":")
	from, to, isRange := strings.Cut(place, "-")
	digits, bits, isMasked := strings.Cut(pattern, "/")
	first, last := number(from), number(from)
	if isRange {
		last = number(to)
	}
	wanted, mask := unhex(digits), unhex(digits)
	if isMasked {
		mask = unhex(bits)
	}
	for at := first; at <= last && at+len(wanted) <= len(head); at++ {
		same := true
		for i, want := range wanted {
			got := head[at+i]
			if isMasked {
				got &= mask[i]
			}
			same = same && got == want
		}
		if same {
			return true
		}
	}
	return false
}

// number parses a number of the table, which a test validates.
func number(text string) int {
	value, _ := strconv.Atoi(text)
	return value
}

// unhex parses bytes of the table, which a test validates.
func unhex(text string) []byte {
	bytes, _ := hex.DecodeString(text)
	return bytes
}

type sniffRule struct {
	match string
	types string
}

// rules is the table of all clients: the first matching rule decides. A test compares it with
// tests/conformance/sniffing.json, which documents the format.
var rules = []sniffRule{
	{"0:52494646 8:57415645", "audio/wav"},
	{"0:52494658 8:57415645", "audio/wav"},
	{"0:52463634 8:57415645", "audio/wav"},
	{"0:42573634 8:57415645", "audio/wav"},
	{"0:52494646 8:57454250", "image/webp"},
	{"0:52494646 8:41564920", "video/x-msvideo"},
	{"0:494433", "audio/mpeg"},
	{"0:664c6143", "audio/flac"},
	{"0:4f676753 28:807468656f7261", "video/ogg audio/ogg"},
	{"0:4f676753", "audio/ogg video/ogg"},
	{"0:2321414d522d5742", "audio/amr-wb"},
	{"0:2321414d52", "audio/amr"},
	{"0:232153494c4b", "audio/silk"},
	{"0:02232153494c4b", "audio/silk"},
	{"0:41444946", "audio/aac"},
	{"0:fff0/fff6", "audio/aac"},
	{"0:fffe 3:00 5:00", "text/plain"},
	{"0:ffe8/fff8", ""},
	{"0:ffe0/ffe6", ""},
	{"0:ffe0f0/ffe0f0", ""},
	{"0:ffe00c/ffe00c", ""},
	{"0:fffe00/fffef0", ""},
	{"0:ffe0/ffe0", "audio/mpeg"},
	{"4:66747970 8-60:61766966", "image/avif"},
	{"4:66747970 8-60:61766973", "image/avif"},
	{"4:66747970 8:686569", "image/heic"},
	{"4:66747970 8:686576", "image/heic"},
	{"4:66747970 8:6d696631", "image/heic"},
	{"4:66747970 8:6d696632", "image/heic"},
	{"4:66747970 8:6d736631", "image/heic"},
	{"4:66747970 8:4d3441", "audio/mp4 video/mp4"},
	{"4:66747970 8:4d3442", "audio/mp4 video/mp4"},
	{"4:66747970 8:4d3450", "audio/mp4 video/mp4"},
	{"4:66747970 8:463441", "audio/mp4 video/mp4"},
	{"4:66747970 8:463442", "audio/mp4 video/mp4"},
	{"4:66747970 8:336732", "video/3gpp2 audio/3gpp2"},
	{"4:66747970 8:336770", "video/3gpp audio/3gpp"},
	{"4:66747970 8:336765", "video/3gpp audio/3gpp"},
	{"4:66747970 8:336767", "video/3gpp audio/3gpp"},
	{"4:66747970 8:336772", "video/3gpp audio/3gpp"},
	{"4:66747970 8:336773", "video/3gpp audio/3gpp"},
	{"4:66747970 8:717420", "video/quicktime"},
	{"4:66747970", "video/mp4 audio/mp4"},
	{"4:6d6f6f76", "video/quicktime"},
	{"4:77696465", "video/quicktime"},
	{"0:89504e470d0a1a0a", "image/png"},
	{"0:ffd8ff", "image/jpeg"},
	{"0:47494638", "image/gif"},
	{"0:424d 6:00000000", "image/bmp"},
	{"0:49492a00", "image/tiff"},
	{"0:4d4d002a", "image/tiff"},
	{"0:49492b00", "image/tiff"},
	{"0:4d4d002b", "image/tiff"},
	{"0:00000100 5:00 9:00 18:0600/0f00 20:0000", "image/x-icon"},
	{"0:1a45dfa3 4-64:6d6174726f736b61", "video/x-matroska audio/x-matroska"},
	{"0:1a45dfa3", "video/webm audio/webm"},
	{"0:464c56", "video/x-flv"},
	{"0:47 188:47 376:47", "video/mp2t"},
	{"4:47 196:47 388:47", "video/mp2t"},
	{"0:000001ba", "video/mpeg"},
	{"0:000001b3", "video/mpeg"},
	{"0:464f524d 8:41494646", "audio/aiff"},
	{"0:464f524d 8:41494643", "audio/aiff"},
	{"0:63616666 4:0001", "audio/x-caf"},
	{"0:2e736e64", "audio/basic"},
	{"0:3026b2758e66cf11", "video/x-ms-wmv audio/x-ms-wma"},
	{"0-256:3c737667", "image/svg+xml"},
	{"0-64:3c21444f4354595045/ffffdfdfdfdfdfdfdf", "text/html"},
	{"0-64:3c48544d4c/ffdfdfdfdf", "text/html"},
	{"0-64:3c3f786d6c", "text/xml"},
	{"0:7b22 2-64:223a", "application/json"},
	{"0:7b0a 2-64:223a", "application/json"},
	{"0:25504446", "application/pdf"},
	{"0:504b0304", "application/zip"},
	{"0:1f8b08", "application/gzip"},
}

var extensions = map[string]string{
	"wav":  "audio/wav",
	"wave": "audio/wav",
	"rf64": "audio/wav",
	"bwf":  "audio/wav",
	"mp3":  "audio/mpeg",
	"mp2":  "audio/mpeg",
	"mpga": "audio/mpeg",
	"flac": "audio/flac",
	"ogg":  "audio/ogg video/ogg",
	"oga":  "audio/ogg",
	"opus": "audio/opus",
	"spx":  "audio/ogg",
	"amr":  "audio/amr",
	"awb":  "audio/amr-wb",
	"aac":  "audio/aac",
	"adts": "audio/aac",
	"m4a":  "audio/mp4 video/mp4",
	"m4b":  "audio/mp4 video/mp4",
	"pcm":  "audio/pcm",
	"wma":  "audio/x-ms-wma video/x-ms-wmv",
	"aif":  "audio/aiff",
	"aiff": "audio/aiff",
	"aifc": "audio/aiff",
	"caf":  "audio/x-caf",
	"au":   "audio/basic",
	"weba": "audio/webm",
	"mka":  "audio/x-matroska",
	"silk": "audio/silk",
	"slk":  "audio/silk",
	"png":  "image/png",
	"jpg":  "image/jpeg",
	"jpeg": "image/jpeg",
	"jfif": "image/jpeg",
	"gif":  "image/gif",
	"bmp":  "image/bmp",
	"webp": "image/webp",
	"tif":  "image/tiff",
	"tiff": "image/tiff",
	"heic": "image/heic",
	"heif": "image/heic",
	"avif": "image/avif",
	"ico":  "image/x-icon",
	"svg":  "image/svg+xml",
	"mp4":  "video/mp4 audio/mp4",
	"m4v":  "video/mp4 audio/mp4",
	"mov":  "video/quicktime",
	"avi":  "video/x-msvideo",
	"mkv":  "video/x-matroska audio/x-matroska",
	"webm": "video/webm audio/webm",
	"flv":  "video/x-flv",
	"wmv":  "video/x-ms-wmv audio/x-ms-wma",
	"asf":  "video/x-ms-wmv audio/x-ms-wma",
	"3gp":  "video/3gpp audio/3gpp",
	"3gpp": "video/3gpp audio/3gpp",
	"3g2":  "video/3gpp2 audio/3gpp2",
	"ts":   "video/mp2t",
	"m2ts": "video/mp2t",
	"mts":  "video/mp2t",
	"mpg":  "video/mpeg audio/mpeg",
	"mpeg": "video/mpeg audio/mpeg",
	"ogv":  "video/ogg audio/ogg",
}
