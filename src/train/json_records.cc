#include "train/json_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json_guard.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 64;
constexpr std::string_view kBlank = " \t\r\n\v\f";

// name:line of a byte, for what does not parse.
std::string place(const std::string& name, std::string_view bytes, size_t first_line,
                  size_t offset) {
  const auto head = bytes.substr(0, std::min(offset, bytes.size()));
  const auto newlines = static_cast<size_t>(std::count(head.begin(), head.end(), '\n'));
  return name + ":" + std::to_string(first_line + newlines);
}

Result<Json> parse(std::string_view text, const std::string& name, size_t first_line) {
  if (!json_depth_within(text, kDepthMax))
    return errorf("%s: the JSON is nested too deeply", place(name, text, first_line, 0).c_str());
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& fault) {
    return errorf("%s: this is not valid JSON (byte %zu)",
                  place(name, text, first_line, fault.byte).c_str(), fault.byte);
  }
}

Status read_list(std::string_view bytes, const std::string& name, const RecordSink& sink) {
  GEIST_ASSIGN(const Json list, parse(bytes, name, 1));
  for (size_t i = 0; i < list.size(); ++i)
    GEIST_TRY(sink(list[i], name + "[" + std::to_string(i) + "]"));
  return {};
}

Status read_lines(std::string_view bytes, const std::string& name, const RecordSink& sink) {
  for (size_t number = 1; !bytes.empty(); ++number) {
    const size_t end = std::min(bytes.find('\n'), bytes.size());
    const std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line.find_first_not_of(kBlank) == std::string_view::npos) continue;
    GEIST_ASSIGN(const Json record, parse(line, name, number));
    GEIST_TRY(sink(record, name + ":" + std::to_string(number)));
  }
  return {};
}

}  // namespace

Status read_json_records_from(std::string_view bytes, const std::string& name,
                              const RecordSink& sink) {
  const size_t first = bytes.find_first_not_of(kBlank);
  const bool list = first != std::string_view::npos && bytes[first] == '[';
  return list ? read_list(bytes, name, sink) : read_lines(bytes, name, sink);
}

Status read_json_records(const std::string& path, const RecordSink& sink) {
  GEIST_ASSIGN(const MappedFile file, MappedFile::open(path));
  const auto bytes = file.bytes();
  return read_json_records_from({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path,
                                sink);
}

}  // namespace geist::train
