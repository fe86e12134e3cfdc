// Reading documents out of files: plain text, and JSON Lines.
//
// *.jsonl and *.ndjson hold one JSON object a line; its document is the string in `field`, or, when
// that holds a list of chat messages, their contents with a newline between. Everything else is
// text: documents are separated by lines that equal `separator`; without one the file is one
// document. Documents of nothing but white space are passed over. Files are mapped and read from
// front to back, one document in memory at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace geist::train {

struct DocumentOptions {
  std::string field = "text";
  std::string separator = "<|endoftext|>";
};

// Called for each document, with the offset in the file behind it. The document is valid during the
// call. An error stops the reading and is passed on.
using DocumentSink = std::function<Status(std::string_view document, uint64_t offset)>;

Status read_documents(const std::string& path, const DocumentOptions& options,
                      const DocumentSink& sink);
// The same over bytes in memory; `name` decides the format and stands in errors.
Status read_documents_from(std::string_view bytes, const std::string& name,
                           const DocumentOptions& options, const DocumentSink& sink);

// Cuts a document behind the first end of a line from `piece_bytes` on, and so on; 0: never.
Status for_each_piece(std::string_view document, int64_t piece_bytes,
                      const std::function<Status(std::string_view piece)>& sink);

// Whether a document belongs to the share that is kept apart for validation. Its SHA-256 decides:
// the same text goes to the same side, whatever stands around it.
bool is_validation(std::string_view document, double share);

}  // namespace geist::train
