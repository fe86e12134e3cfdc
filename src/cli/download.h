// Downloads that survive a cut line: bytes go to a ".part" file, a later call continues where it
// ends when the server's file is still the same (HTTP Range with If-Range), and a lock keeps two
// programs from writing the same one.
#pragma once

#include <string>

#include "base/hash.h"
#include "base/result.h"

namespace geist::cli {

struct DownloadOptions {
  std::string label;         // for the progress line
  std::string bearer_token;  // sent to the first host only; may be empty
};

struct Downloaded {
  std::string sha256;         // what the server says of a file of Hugging Face; may be empty
  bool length_known = false;  // false: the end came when the server closed, perhaps early
};

// Fetches an http or https URL into `part`, whole. Proxies come from the environment, as for curl.
// Short faults are retried. After an error or Ctrl-C the part stays, for the next call.
Result<Downloaded> download(const std::string& url, const std::string& part,
                            const DownloadOptions& options);

// Removes a part and what belongs to it.
void discard_part(const std::string& part);

// Renames a finished part to its name.
Status finish_part(const std::string& part, const std::string& path);

// SHA-256 of a file of any size, with progress.
Result<std::string> file_sha256_hex(const std::string& path, const std::string& label);

}  // namespace geist::cli
