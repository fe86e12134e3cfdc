#include "cli/pull_plan.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "cli/output.h"
#include "cli/part_record.h"
#include "cli/store.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHuggingFace = "https://huggingface.co";

// RFC 3986: all but the unreserved characters and the slashes between the parts of a path.
std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
    char code[4];
    std::snprintf(code, sizeof code, "%%%02X",
                  static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += plain ? std::string(1, c) : std::string(code);
  }
  return out;
}

// owner/repo/file, file may contain slashes.
Result<std::string> hugging_face_url(const std::string& name) {
  const size_t first = name.find('/');
  const size_t second = first == std::string::npos ? first : name.find('/', first + 1);
  if (second == std::string::npos || second + 1 == name.size()) {
    return errorf("hf:%s: write hf:OWNER/REPO/FILE", name.c_str());
  }
  return without_trailing_slash(environment("HF_ENDPOINT", kHuggingFace)) + "/" +
         percent_encoded(name.substr(0, second)) + "/resolve/main/" +
         percent_encoded(name.substr(second + 1));
}

std::string path_of(const std::string& url) { return url.substr(0, url.find_first_of("?#")); }

Result<std::string> file_name_of(const std::string& path, const std::string& source) {
  std::string name = path.substr(path.rfind('/') + 1);
  const bool bad = name.empty() || name == "." || name == ".." || printable(name) != name;
  if (bad) return errorf("%s: the address names no file; give --output", source.c_str());
  return name;
}

// A model in several files: NAME-00001-of-00003.gguf and its fellows.
struct SplitName {
  std::string stem;
  int number = 0, count = 0;
  std::string part(int which) const {
    char ending[32];
    std::snprintf(ending, sizeof ending, "-%05d-of-%05d.gguf", which, count);
    return stem + ending;
  }
};

std::optional<SplitName> split_name(const std::string& path) {
  constexpr size_t kEnding = std::string_view("-00001-of-00003.gguf").size();
  if (path.size() <= kEnding) return std::nullopt;
  SplitName name;
  name.stem = path.substr(0, path.size() - kEnding);
  const char* ending = path.c_str() + name.stem.size();
  if (std::sscanf(ending, "-%5d-of-%5d", &name.number, &name.count) != 2) return std::nullopt;
  const bool real = name.number >= 1 && name.number <= name.count && name.part(name.number) == path;
  return real ? std::optional(name) : std::nullopt;
}

}  // namespace

std::string environment(const char* name, std::string_view otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : std::string(otherwise);
}

std::string without_trailing_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

Result<PullPlan> make_pull_plan(const PullOptions& options) {
  PullPlan plan;
  std::string name, remote;  // remote: what the name of the file is taken from
  if (options.source.find("://") != std::string::npos) {
    plan.url = options.source;
    plan.origin = public_address(plan.url);
    remote = path_of(plan.url);
    if (remote.find('/', remote.find("://") + 3) == std::string::npos) remote += '/';
  } else if (options.source.starts_with("hf:")) {
    auto url = hugging_face_url(options.source.substr(3));
    if (!url.ok()) return url.error();
    plan.url = *url;
    plan.token = environment("HF_TOKEN");
    plan.origin = options.source;
    remote = options.source;
  } else if (plan.known = find_known_model(options.source); plan.known != nullptr) {
    plan.origin = options.source;
    name = options.source + ".gguf";
  } else {
    return errorf(
        "%s: not a model that can be pulled by name; give tinyllama, hf:OWNER/REPO/FILE or a URL",
        options.source.c_str());
  }
  if (name.empty() && options.output.empty()) {
    auto from_url = file_name_of(remote, options.source);
    if (!from_url.ok()) return from_url.error();
    name = *from_url;
  }
  plan.path = options.output.empty() ? model_store() + "/" + name : options.output;
  return plan;
}

Result<std::vector<PullPlan>> files_of(PullPlan& plan) {
  const std::string address = path_of(plan.url);
  const auto remote = split_name(address);
  if (!remote || remote->count == 1) return std::vector<PullPlan>{plan};
  const auto local = split_name(plan.path);
  if (!local || local->number != remote->number || local->count != remote->count)
    return errorf(
        "--output: a model in %d files keeps the endings of their names; give one that ends in %s",
        remote->count, SplitName{"", remote->number, remote->count}.part(remote->number).c_str());
  std::vector<PullPlan> files;
  for (int i = 1; i <= remote->count; ++i) {
    const std::string url = remote->part(i) + plan.url.substr(address.size());
    const std::string name = remote->part(i).substr(address.rfind('/') + 1);
    const std::string origin = plan.origin.starts_with("hf:")
                                   ? plan.origin.substr(0, plan.origin.rfind('/') + 1) + name
                                   : public_address(url);
    files.push_back({nullptr, url, plan.token, local->part(i), origin});
  }
  plan.path = files[0].path;
  return files;
}

std::string other_name(const PullPlan& plan) {
  // The folder or host that the file is in there.
  const std::string address = path_of(plan.origin);
  const size_t name = address.rfind('/');
  if (name == std::string::npos || name == 0) return plan.path + ".other";
  const size_t before = address.find_last_of("/:", name - 1);
  const std::string where = address.substr(before + 1, name - before - 1);
  const fs::path path(plan.path);
  return (path.parent_path() / (printable(where) + "-" + path.filename().string())).string();
}

}  // namespace geist::cli
