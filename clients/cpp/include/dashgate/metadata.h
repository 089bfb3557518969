// The metadata of calls and responses.
#ifndef DASHGATE_METADATA_H_
#define DASHGATE_METADATA_H_

#include <map>
#include <string>

namespace dashgate {

/// Metadata: lower-case names and their values. An entry of a call replaces the client's of that
/// name.
using Metadata = std::multimap<std::string, std::string>;

}  // namespace dashgate

#endif  // DASHGATE_METADATA_H_
