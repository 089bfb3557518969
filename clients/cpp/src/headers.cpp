#include "headers.h"

#include <string>
#include <string_view>

namespace dashgate::detail {
namespace {

void add(Metadata& headers, const std::multimap<grpc::string_ref, grpc::string_ref>& metadata) {
  for (const auto& [name, value] : metadata) {
    if (is_binary({name.data(), name.size()})) continue;
    headers.emplace(std::string(name.data(), name.size()), std::string(value.data(), value.size()));
  }
}

}  // namespace

bool is_binary(std::string_view name) {
  constexpr std::string_view kEnd = "-bin";
  return name.size() >= kEnd.size() && name.substr(name.size() - kEnd.size()) == kEnd;
}

Metadata read_initial(const grpc::ClientContext& context) {
  Metadata headers;
  add(headers, context.GetServerInitialMetadata());
  return headers;
}

Metadata read_headers(const grpc::ClientContext& context) {
  Metadata headers = read_initial(context);
  const auto& trailers = context.GetServerTrailingMetadata();
  // A name in both has the values of the trailers.
  for (const auto& [name, value] : trailers) headers.erase(std::string(name.data(), name.size()));
  add(headers, trailers);
  return headers;
}

}  // namespace dashgate::detail
