#include "train/documents.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/hash.h"
#include "base/json_guard.h"

namespace geist::train {
namespace {

using Json = nlohmann::json;

constexpr int kJsonDepthMax = 64;

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

std::string_view without_cr(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

// Calls f(line, offset of the next line) for each line, without its newline.
template <typename F>
Status for_each_line(std::string_view bytes, F&& f) {
  for (size_t begin = 0; begin < bytes.size();) {
    const size_t newline = bytes.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? bytes.size() : newline;
    const size_t next = newline == std::string_view::npos ? bytes.size() : newline + 1;
    GEIST_TRY(f(bytes.substr(begin, end - begin), next));
    begin = next;
  }
  return {};
}

Status read_text(std::string_view bytes, const DocumentOptions& options, const DocumentSink& sink) {
  size_t begin = 0;
  const auto emit = [&](size_t end, size_t next) -> Status {
    const std::string_view document = bytes.substr(begin, end - begin);
    begin = next;
    if (is_blank(document)) return {};
    return sink(document, next);
  };
  if (!options.separator.empty()) {
    // Looked for as a whole, then held against the line that it stands in.
    for (size_t at = bytes.find(options.separator); at != std::string_view::npos;
         at = bytes.find(options.separator, at + 1)) {
      size_t end = at + options.separator.size();
      if (at > 0 && bytes[at - 1] != '\n') continue;
      if (end < bytes.size() && bytes[end] == '\r') ++end;
      if (end < bytes.size() && bytes[end] != '\n') continue;
      GEIST_TRY(emit(at, std::min(end + 1, bytes.size())));
    }
  }
  return emit(bytes.size(), bytes.size());
}

// The document in a line's object, or nothing where the field is missing or of another kind.
bool text_of(const Json& object, const std::string& field, std::string* text) {
  const auto at = object.is_object() ? object.find(field) : object.end();
  if (!object.is_object() || at == object.end()) return false;
  if (at->is_string()) {
    *text = at->get<std::string>();
    return true;
  }
  if (!at->is_array()) return false;
  text->clear();
  for (const Json& message : *at) {
    if (!message.is_object()) return false;
    const auto content = message.find("content");
    if (content == message.end() || !content->is_string()) continue;  // a tool call has none
    if (!text->empty()) *text += '\n';
    *text += content->get_ref<const std::string&>();
  }
  return true;
}

Status read_json_lines(std::string_view bytes, const std::string& name,
                       const DocumentOptions& options, const DocumentSink& sink) {
  size_t number = 0;
  std::string text;
  return for_each_line(bytes, [&](std::string_view line, size_t next) -> Status {
    ++number;
    line = without_cr(line);
    if (is_blank(line)) return {};
    if (!json_depth_within(line, kJsonDepthMax))
      return errorf("%s:%zu: the JSON is nested too deeply", name.c_str(), number);
    const Json object = Json::parse(line, nullptr, false);
    if (object.is_discarded())
      return errorf("%s:%zu: this line is not valid JSON", name.c_str(), number);
    if (!text_of(object, options.field, &text))
      return errorf("%s:%zu: there is no text in the field '%s'; name another with --field",
                    name.c_str(), number, options.field.c_str());
    return is_blank(text) ? Status() : sink(text, next);
  });
}

}  // namespace

Status read_documents_from(std::string_view bytes, const std::string& name,
                           const DocumentOptions& options, const DocumentSink& sink) {
  if (name.ends_with(".jsonl") || name.ends_with(".ndjson"))
    return read_json_lines(bytes, name, options, sink);
  return read_text(bytes, options, sink);
}

Status read_documents(const std::string& path, const DocumentOptions& options,
                      const DocumentSink& sink) {
  GEIST_ASSIGN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  return read_documents_from({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path,
                             options, sink);
}

Status for_each_piece(std::string_view document, int64_t piece_bytes,
                      const std::function<Status(std::string_view piece)>& sink) {
  const auto limit = static_cast<size_t>(piece_bytes);
  while (limit > 0 && document.size() > limit) {
    const size_t end = document.find('\n', limit);
    if (end == std::string_view::npos) break;
    GEIST_TRY(sink(document.substr(0, end + 1)));
    document.remove_prefix(end + 1);
  }
  return document.empty() ? Status() : sink(document);
}

bool is_validation(std::string_view document, double share) {
  uint64_t head;
  const Sha256Digest digest = sha256(std::as_bytes(std::span(document)));
  std::memcpy(&head, digest.data(), sizeof head);
  return static_cast<double>(head >> 11) * 0x1p-53 < share;
}

}  // namespace geist::train
