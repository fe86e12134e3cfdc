#include "cli/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/part_record.h"
#include "cli/progress.h"

namespace geist::cli {
namespace {

constexpr int kFruitlessAttemptsMax = 5;

using Headers = std::map<std::string, std::string>;

std::string header(const Headers& headers, const char* name) {
  const auto entry = headers.find(name);
  return entry == headers.end() ? "" : entry->second;
}

std::string validator_of(const Headers& headers) {
  return range_validator(header(headers, "etag"), header(headers, "last-modified"),
                         header(headers, "date"));
}

struct ContentRange {
  uint64_t begin = 0, total = 0;  // total 0: "*", not known
};
std::optional<ContentRange> parse_content_range(const std::string& text) {
  ContentRange range;
  uint64_t last = 0;
  const int read = std::sscanf(text.c_str(), "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64, &range.begin,
                               &last, &range.total);
  return read >= 2 ? std::optional(range) : std::nullopt;
}

// Hugging Face's tag of a large file is its SHA-256; other tags are not.
std::string sha256_in(std::string_view tag) {
  if (tag.starts_with('"') && tag.ends_with('"') && tag.size() >= 2)
    tag = tag.substr(1, tag.size() - 2);
  const bool hex = tag.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  return tag.size() == 64 && hex ? std::string(tag) : "";
}

// One download: the file and its lock, and what the last attempt's headers said.
class Transfer {
 public:
  Transfer(const std::string& url, const std::string& part, const DownloadOptions& options)
      : url_(url), part_(part), options_(options), progress_(options.label, 0) {}
  ~Transfer() {
    if (fd_ >= 0) ::close(fd_);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  Status open();
  Result<Downloaded> run();

 private:
  enum class Outcome { kDone, kRetry, kFailed };
  Outcome attempt();
  Outcome judge(CURLcode code);
  Outcome judge_http_error();
  void configure(CURL* curl, curl_slist** headers);
  bool begin_body();  // the first bytes have come: continue or start anew?
  bool continues() const;
  void restart();

  size_t on_header(std::string_view line);
  size_t on_body(const char* data, size_t size);
  static size_t header_callback(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->on_header({data, size});
  }
  static size_t body_callback(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->on_body(data, size);
  }
  static int progress_callback(void*, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return interrupted() ? 1 : 0;
  }

  const std::string& url_;
  const std::string& part_;
  const DownloadOptions& options_;
  Progress progress_;
  int fd_ = -1;
  uint64_t size_ = 0;  // bytes in the part
  std::string message_;

  PartRecord record_;
  long http_code_ = 0;
  Headers headers_;            // of the last answer, names in small letters
  std::string linked_sha256_;  // of any answer on the way
  bool body_begun_ = false;
};

Status Transfer::open() {
  fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) return errorf("%s: cannot write: %s", part_.c_str(), std::strerror(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    return errorf("%s: another geist is downloading this now", part_.c_str());
  }
  const off_t end = ::lseek(fd_, 0, SEEK_END);
  if (end < 0) return errorf("%s: cannot seek: %s", part_.c_str(), std::strerror(errno));
  size_ = static_cast<uint64_t>(end);
  const auto record = read_part_record(part_);
  if (record && record->address == public_address(url_)) record_ = *record;
  if (record_.validator.empty()) restart();  // nothing tells whether the server's file is the same
  return {};
}

void Transfer::restart() {
  if (::ftruncate(fd_, 0) == 0 && ::lseek(fd_, 0, SEEK_SET) == 0) size_ = 0;
}

size_t Transfer::on_header(std::string_view line) {
  if (line.starts_with("HTTP/")) {  // a new answer (after a redirect, say): forget the last one
    const size_t space = line.find(' ');
    http_code_ = space == std::string_view::npos ? 0 : std::atol(line.data() + space);
    headers_.clear();
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && std::strchr(" \t\r\n", value.front())) value.remove_prefix(1);
  while (!value.empty() && std::strchr(" \t\r\n", value.back())) value.remove_suffix(1);
  if (name == "x-linked-etag") linked_sha256_ = sha256_in(value);
  headers_[std::move(name)] = value;
  return line.size();
}

// Whether the answer is the rest of the file that the part is the beginning of. A server may ignore
// If-Range, so what it says of the file is compared as well.
bool Transfer::continues() const {
  const auto range = parse_content_range(header(headers_, "content-range"));
  if (http_code_ != 206 || !range || range->begin != size_) return false;
  if (record_.total != 0 && range->total != 0 && record_.total != range->total) return false;
  const std::string validator = validator_of(headers_);
  return validator.empty() || validator == record_.validator;
}

bool Transfer::begin_body() {
  body_begun_ = true;
  const uint64_t length = std::strtoull(header(headers_, "content-length").c_str(), nullptr, 10);
  if (size_ > 0 && !continues()) {
    restart();  // the server sends it all again, or something else than what was asked
    if (size_ != 0 || http_code_ == 206) return false;
  }
  if (size_ > 0 && record_.total == 0)
    record_.total = parse_content_range(header(headers_, "content-range"))->total;
  if (size_ == 0) {
    record_ = {
        .address = public_address(url_), .validator = validator_of(headers_), .total = length};
    if (!write_part_record(part_, record_).ok()) return false;
  }
  progress_.set_start(size_);
  progress_.set_total(length > 0 ? size_ + length : 0);
  return true;
}

size_t Transfer::on_body(const char* data, size_t size) {
  if (http_code_ >= 400) return size;  // an error page
  if (!body_begun_ && !begin_body()) return 0;
  for (size_t written = 0; written < size;) {
    const ssize_t n = ::write(fd_, data + written, size - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      message_ = part_ + ": cannot write: " + std::strerror(errno);
      return 0;
    }
    written += static_cast<size_t>(n);
  }
  size_ += size;
  progress_.update(size_);
  return size;
}

void Transfer::configure(CURL* curl, curl_slist** headers) {
  curl_easy_setopt(curl, CURLOPT_URL, url_.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  // What was asked for over https must not come over http.
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
                   url_.starts_with("http:") ? "http,https" : "https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "geist");
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, header_callback);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_callback);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, progress_callback);
  if (!options_.bearer_token.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BEARER));
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, options_.bearer_token.c_str());
  }
  if (size_ == 0) return;
  // Not CURLOPT_RESUME_FROM: with it curl fails where we start anew.
  *headers = curl_slist_append(*headers, ("Range: bytes=" + std::to_string(size_) + "-").c_str());
  *headers = curl_slist_append(*headers, ("If-Range: " + record_.validator).c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
}

Transfer::Outcome Transfer::attempt() {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 curl_easy_cleanup);
  if (!curl) {
    message_ = "cannot initialise libcurl";
    return Outcome::kFailed;
  }
  char detail[CURL_ERROR_SIZE] = "";
  curl_slist* headers = nullptr;
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, detail);
  if (record_.validator.empty()) restart();  // nothing could guard a range
  configure(curl.get(), &headers);
  body_begun_ = false;
  http_code_ = 0;
  message_.clear();
  const CURLcode code = curl_easy_perform(curl.get());
  curl_slist_free_all(headers);
  if (message_.empty() && code != CURLE_OK)
    message_ = url_ + ": " + (detail[0] ? detail : curl_easy_strerror(code));
  return judge(code);
}

Transfer::Outcome Transfer::judge(CURLcode code) {
  if (interrupted()) return Outcome::kFailed;
  switch (code) {
    case CURLE_OK:
      if (http_code_ >= 400) return judge_http_error();
      if (!body_begun_ && size_ > 0) restart();  // an empty answer
      if (record_.total == 0 || size_ == record_.total) return Outcome::kDone;
      message_ = url_ + ": the server sent " + std::to_string(size_) + " of " +
                 std::to_string(record_.total) + " bytes";
      if (size_ > record_.total) restart();
      return Outcome::kRetry;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
      return Outcome::kRetry;
    default:
      // A range that does not fit what is here: begin_body() has emptied the part.
      return code == CURLE_WRITE_ERROR && http_code_ == 206 && size_ == 0 ? Outcome::kRetry
                                                                          : Outcome::kFailed;
  }
}

Transfer::Outcome Transfer::judge_http_error() {
  if (http_code_ == 416 && size_ > 0) {  // nothing after what we have
    const std::string total = std::to_string(size_);
    if (header(headers_, "content-range") == "bytes */" + total &&
        (record_.total == 0 || record_.total == size_)) {
      record_.total = size_;
      return Outcome::kDone;
    }
    restart();
    message_ = url_ + ": the server cannot continue the download";
    return Outcome::kRetry;
  }
  message_ = url_ + ": the server says " + std::to_string(http_code_);
  if (http_code_ == 404) message_ += " (not found); check the name";
  if (http_code_ == 401 || http_code_ == 403)
    message_ += " (not allowed); set HF_TOKEN if the model is gated";
  const bool passing = http_code_ == 408 || http_code_ == 429 || http_code_ >= 500;
  return passing ? Outcome::kRetry : Outcome::kFailed;
}

Result<Downloaded> Transfer::run() {
  uint64_t best_size = size_;
  bool progressed = false;
  for (int fruitless = 0;;) {
    const Outcome outcome = attempt();
    if (outcome == Outcome::kDone) break;
    if (interrupted()) return errorf("interrupted");
    if (size_ > best_size) fruitless = 0, progressed = true;
    best_size = std::max(best_size, size_);
    // A server that was never there is not waited for.
    const bool unreachable = http_code_ == 0 && !progressed && fruitless >= 1;
    if (outcome == Outcome::kFailed || unreachable || ++fruitless > kFruitlessAttemptsMax) {
      return Error{message_ + (size_ > 0 ? "; run it again to continue" : "")};
    }
    for (int wait_ms = 250 << fruitless; wait_ms > 0 && !interrupted(); wait_ms -= 100)
      ::poll(nullptr, 0, 100);
  }
  progress_.update(size_);
  progress_.finish();
  if (::fsync(fd_) != 0) return errorf("%s: cannot write: %s", part_.c_str(), std::strerror(errno));
  return Downloaded{.sha256 = linked_sha256_, .length_known = record_.total != 0};
}

}  // namespace

Result<Downloaded> download(const std::string& url, const std::string& part,
                            const DownloadOptions& options) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return errorf("cannot initialise libcurl");
  Transfer transfer(url, part, options);
  GEIST_TRY(transfer.open());
  auto got = transfer.run();
  std::error_code error;
  if (!got.ok() && std::filesystem::file_size(part, error) == 0) discard_part(part);
  return got;
}

void discard_part(const std::string& part) {
  ::unlink(part.c_str());
  remove_part_record(part);
}

Status finish_part(const std::string& part, const std::string& path) {
  if (::rename(part.c_str(), path.c_str()) != 0) {
    return errorf("%s: cannot rename to %s: %s", part.c_str(), path.c_str(), std::strerror(errno));
  }
  sync_folder_of(path);
  remove_part_record(part);
  return {};
}

Result<std::string> file_sha256_hex(const std::string& path, const std::string& label) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (!file) return errorf("%s: cannot open: %s", path.c_str(), std::strerror(errno));
  std::error_code error;
  Progress progress(label, std::filesystem::file_size(path, error));
  Sha256 hash;
  std::vector<std::byte> buffer(size_t{1} << 20);
  uint64_t done = 0;
  while (const size_t n = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    if (interrupted()) return errorf("interrupted");
    hash.update(std::span(buffer).first(n));
    progress.update(done += n);
  }
  if (std::ferror(file.get())) return errorf("%s: cannot read", path.c_str());
  return to_hex(hash.finish());
}

}  // namespace geist::cli
