#include "cli/part_record.h"

#include <curl/curl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "base/file.h"
#include "base/hash.h"

namespace geist::cli {
namespace {

constexpr size_t kRecordBytesMax = 1 << 16;

std::string record_path(const std::string& part) { return part + ".record"; }
std::string origin_path(const std::string& path) { return path + ".origin"; }

// Three lines; neither an address nor a header has a line's end in it.
std::optional<std::string> take_line(std::string* text) {
  const size_t end = text->find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string line = text->substr(0, end);
  text->erase(0, end + 1);
  return line;
}

}  // namespace

std::optional<PartRecord> read_part_record(const std::string& part) {
  auto text = read_file(record_path(part), kRecordBytesMax);
  if (!text.ok()) return std::nullopt;
  const auto address = take_line(&*text), validator = take_line(&*text), total = take_line(&*text);
  if (!total) return std::nullopt;
  return PartRecord{*address, *validator, std::strtoull(total->c_str(), nullptr, 10)};
}

Status write_part_record(const std::string& part, const PartRecord& record) {
  return write_file(record_path(part), record.address + "\n" + record.validator + "\n" +
                                           std::to_string(record.total) + "\n");
}

void remove_part_record(const std::string& part) { ::unlink(record_path(part).c_str()); }

std::string range_validator(const std::string& etag, const std::string& last_modified,
                            const std::string& date) {
  if (etag.starts_with('"')) return etag;  // W/"..." does not promise equal bytes
  const time_t changed = curl_getdate(last_modified.c_str(), nullptr);
  const time_t answered = curl_getdate(date.c_str(), nullptr);
  return changed >= 0 && answered > changed ? last_modified : "";
}

std::string public_address(const std::string& url) {
  std::string out = url.substr(0, url.find('#'));
  const size_t host = out.find("://") == std::string::npos ? 0 : out.find("://") + 3;
  const size_t host_end = out.find_first_of("/?", host);
  const size_t user_end = out.rfind('@', host_end);
  if (user_end != std::string::npos && user_end >= host) out.erase(host, user_end + 1 - host);
  const size_t query = out.find('?');
  if (query == std::string::npos) return out;
  // It tells files apart, and may be a signature that gives access.
  const std::string digest = to_hex(sha256(std::as_bytes(std::span(out).subspan(query))));
  return out.substr(0, query) + "?" + digest.substr(0, 16);
}

std::optional<std::string> read_origin(const std::string& path) {
  auto text = read_file(origin_path(path), kRecordBytesMax);
  return text.ok() ? take_line(&*text) : std::nullopt;
}

Status write_origin(const std::string& path, const std::string& origin) {
  return write_file(origin_path(path), origin + "\n");
}

}  // namespace geist::cli
