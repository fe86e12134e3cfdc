#include "cli/feedback.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/json_guard.h"
#include "cli/store.h"

namespace geist::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 16;

std::string line_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);  // and lets go of the lock
  }
};

// Whether the file is empty or its last line is whole.
bool ends_in_newline(int fd) {
  struct stat info {};
  char last = 0;
  return ::fstat(fd, &info) != 0 || info.st_size == 0 ||
         ::pread(fd, &last, 1, info.st_size - 1) != 1 || last == '\n';
}

bool is_message(const Json& json) {
  const auto is_text = [&](const char* key) { return json.contains(key) && json[key].is_string(); };
  return json.is_object() && is_text("role") && is_text("content");
}

struct Verdict {
  std::string reply;
  bool good;
};

// What was said to a model and what came of it, in the order of the file.
struct Prompt {
  Json messages;
  std::vector<Verdict> verdicts;
};

class Verdicts {
 public:
  // False when the line is not whole.
  bool add(std::string_view line) {
    if (!json_depth_within(line, kDepthMax)) return false;
    const Json json = Json::parse(line, nullptr, false);
    const auto is_text = [&](const char* key) {
      return json.contains(key) && json[key].is_string();
    };
    if (!json.is_object() || !is_text("reply") || !is_text("verdict") ||
        !json.contains("messages") || !json["messages"].is_array() || json["messages"].empty())
      return false;
    for (const Json& message : json["messages"])
      if (!is_message(message)) return false;
    const std::string verdict = json["verdict"];
    if (verdict != "good" && verdict != "bad") return false;
    add(json["messages"], json["reply"], verdict == "good");
    return true;
  }

  const std::vector<Prompt>& prompts() const { return prompts_; }

 private:
  void add(const Json& messages, const std::string& reply, bool good) {
    const auto [at, is_new] = index_.emplace(line_of(messages), prompts_.size());
    if (is_new) prompts_.push_back({messages, {}});
    std::vector<Verdict>& verdicts = prompts_[at->second].verdicts;
    for (Verdict& v : verdicts)
      if (v.reply == reply) return void(v.good = good);
    verdicts.push_back({reply, good});
  }

  std::vector<Prompt> prompts_;
  std::map<std::string, size_t> index_;
};

void export_prompt(const Prompt& prompt, FeedbackExport* out) {
  std::vector<const Verdict*> good, bad;
  for (const Verdict& v : prompt.verdicts) (v.good ? good : bad).push_back(&v);
  for (const Verdict* g : good)
    for (const Verdict* b : bad) {
      out->lines +=
          line_of({{"prompt", prompt.messages}, {"chosen", g->reply}, {"rejected", b->reply}});
      ++out->pairs;
    }
  if (!good.empty() && !bad.empty()) return;
  for (const Verdict& v : prompt.verdicts) {
    out->lines +=
        line_of({{"prompt", prompt.messages}, {"completion", v.reply}, {"label", v.good}});
    ++(v.good ? out->good_alone : out->bad_alone);
  }
}

}  // namespace

std::string feedback_file() { return user_file("feedback.jsonl"); }

Status append_feedback(const std::string& path, const Feedback& feedback) {
  Json messages = Json::array();
  for (const engine::ChatMessage& m : feedback.messages)
    messages.push_back({{"role", m.role}, {"content", m.content}});
  std::string line = line_of({{"model", feedback.model},
                              {"messages", std::move(messages)},
                              {"reply", feedback.reply},
                              {"verdict", feedback.good ? "good" : "bad"}});
  const auto fault = [&](const char* what) {
    return errorf("%s: %s: %s; the verdict is not kept", path.c_str(), what, std::strerror(errno));
  };
  std::error_code ignored;  // opening says it better
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const Descriptor file{::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600)};
  if (file.fd < 0) return fault("cannot open");
  if (::flock(file.fd, LOCK_EX) != 0) return fault("cannot lock");
  if (!ends_in_newline(file.fd)) line.insert(0, 1, '\n');
  for (size_t written = 0; written < line.size();) {
    const ssize_t some = ::write(file.fd, line.data() + written, line.size() - written);
    if (some < 0 && errno == EINTR) continue;
    if (some <= 0) return fault("cannot write");
    written += static_cast<size_t>(some);
  }
  if (::fsync(file.fd) != 0) return fault("cannot write");
  return {};
}

Result<FeedbackExport> export_feedback(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return errorf("%s: no verdict has been kept yet; /good and /bad in geist chat keep them",
                  path.c_str());
  GEIST_ASSIGN(const std::string text, read_file(path));
  FeedbackExport out;
  Verdicts verdicts;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    if (!line.empty() && !verdicts.add(line)) ++out.not_whole;
    at = end + 1;
  }
  for (const Prompt& prompt : verdicts.prompts()) export_prompt(prompt, &out);
  return out;
}

}  // namespace geist::cli
