// What is known of a half-finished download: where it comes from, which version of the file it is,
// and how long the whole is. It lies beside the part, so that a later call can tell whether the
// server still has the same file. And where a finished file came from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace geist::cli {

struct PartRecord {
  std::string address;    // public_address() of what was asked for
  std::string validator;  // for If-Range: a strong ETag or a date; empty: none, start anew
  uint64_t total = 0;     // bytes of the whole file; 0: not known
};

std::optional<PartRecord> read_part_record(const std::string& part);
Status write_part_record(const std::string& part, const PartRecord& record);
void remove_part_record(const std::string& part);

// What may guard a range (RFC 9110, section 13.1.5): a strong entity tag, or a date of change that
// lies a second or more before the answer, so that no later change can bear the same one.
std::string range_validator(const std::string& etag, const std::string& last_modified,
                            const std::string& date);

// An address without what may be secret in it: user and password go, a query becomes a digest.
std::string public_address(const std::string& url);

// What a finished file was pulled from, kept in FILE.origin.
std::optional<std::string> read_origin(const std::string& path);
Status write_origin(const std::string& path, const std::string& origin);

}  // namespace geist::cli
