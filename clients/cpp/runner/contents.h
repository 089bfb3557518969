// The content of messages in a job.
#ifndef DASHGATE_RUNNER_CONTENTS_H_
#define DASHGATE_RUNNER_CONTENTS_H_

#include <dashgate/v1/content.pb.h>
#include <google/protobuf/struct.pb.h>

#include <string>
#include <vector>

namespace runner {

// Makes parts of content specs with the content helpers. `uploaded` is the URI of an upload.
std::vector<dashgate::v1::Content> read_contents(const std::vector<google::protobuf::Value>& specs,
                                                 const std::string& uploaded = {});

}  // namespace runner

#endif  // DASHGATE_RUNNER_CONTENTS_H_
