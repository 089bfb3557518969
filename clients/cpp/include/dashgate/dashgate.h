// Includes the whole library.
#ifndef DASHGATE_DASHGATE_H_
#define DASHGATE_DASHGATE_H_

#include <dashgate/answer.h>
#include <dashgate/cancellation.h>
#include <dashgate/client.h>
#include <dashgate/content.h>
#include <dashgate/conversation.h>
#include <dashgate/error.h>
#include <dashgate/json_schema.h>
#include <dashgate/live.h>
#include <dashgate/metadata.h>
#include <dashgate/options.h>
#include <dashgate/output.h>
#include <dashgate/stream.h>
#include <dashgate/tool.h>
#include <dashgate/tool_stream.h>

#endif  // DASHGATE_DASHGATE_H_
