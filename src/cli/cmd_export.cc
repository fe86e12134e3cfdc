// geist export: a mind to carry on a stick. The two files, and three lines about them.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/run_file.h"
#include "cli/store.h"
#include "gguf/gguf.h"
#include "model/hf_import.h"
#include "model/model.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kReadme =
    "A large language model in two files: model.gguf holds its parameters, geist.c runs it.\n"
    "Build: cc -O2 geist.c -o g   (any C11 compiler, no other library; -march=native is faster)\n"
    "Run: ./g model.gguf \"Once upon a time\"   (--seed 1 draws at random, -n 100 stops earlier)\n";

std::string first_line(const std::string& path) {
  const auto text = read_file(path, size_t{1} << 24);
  return text.ok() ? text->substr(0, text->find('\n')) : "";
}

// The files that an export would replace and none has written. Parameters show no author: they are
// an export's where its README is.
Status refuse_foreign(const fs::path& folder, const std::string& model_path) {
  const auto begins_alike = [&](const char* name, std::string_view text) {
    return first_line((folder / name).string()) == text.substr(0, text.find('\n'));
  };
  std::error_code failed;
  const bool ours = begins_alike("README", kReadme);
  const fs::path model = folder / "model.gguf";
  std::string foreign;
  const auto add = [&](const char* name) {
    foreign += (foreign.empty() ? "" : ", ") + std::string(name);
  };
  if (fs::exists(folder / "README", failed) && !ours) add("README");
  if (fs::exists(folder / "geist.c", failed) && !begins_alike("geist.c", run_file_source()))
    add("geist.c");
  if (fs::exists(model, failed) && !ours && !fs::equivalent(model, model_path, failed))
    add("model.gguf");
  if (foreign.empty()) return {};
  return errorf("%s: %s there is not from an export; give another folder, or --force to replace it",
                folder.c_str(), foreign.c_str());
}

// Writes the tensors one after the other: what a split or an imported model needs, and a copy.
Status write_model(const gguf::File& file, const std::string& to) {
  std::vector<gguf::TensorToWrite> shapes;
  uint64_t bytes = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    shapes.push_back({tensor.name, tensor.type, tensor.dims});
    bytes += tensor.data.size();
  }
  const RemoveOnInterrupt partial(to);
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(to, file.metadata(), std::move(shapes)));
  Progress progress("exporting", bytes);
  uint64_t done = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    GEIST_TRY(writer.write_tensor(tensor.data));
    progress.update(done += tensor.data.size());
  }
  GEIST_TRY(writer.commit());
  progress.finish();
  return {};
}

struct ExportOptions {
  std::string model, folder;
  bool force = false;
};

Status export_model(const ExportOptions& options) {
  GEIST_ASSIGN(const std::string path, find_model(options.model));
  GEIST_ASSIGN(const gguf::File file, model::open_model_file(path));
  GEIST_TRY(model::read_model_config(file));  // what geist run refuses, the run file need not read
  std::error_code failed;
  const bool one_file =
      fs::is_regular_file(path, failed) && file.file_bytes() == fs::file_size(path, failed);
  if (one_file) GEIST_TRY(check_run_file_reads(path));
  const fs::path folder(options.folder);
  fs::create_directories(folder, failed);
  if (failed) return errorf("%s: cannot be made: %s", folder.c_str(), failed.message().c_str());
  if (!options.force) GEIST_TRY(refuse_foreign(folder, path));
  const std::string target = (folder / "model.gguf").string();
  const bool same = fs::equivalent(path, target, failed);
  for (const char* name : {"README", "geist.c"})
    GEIST_TRY(refuse_overwriting((folder / name).string(), file.sources()));
  if (!same) GEIST_TRY(refuse_overwriting(target, file.sources()));
  const std::string staged = target + ".unchecked";
  if (!one_file) {
    GEIST_TRY(write_model(file, staged));
    if (Status read = check_run_file_reads(staged); !read.ok()) {
      fs::remove(staged, failed);
      return read;
    }
  }
  // The README first: with it a later export knows an unfinished one.
  GEIST_TRY(write_file((folder / "README").string(), kReadme));
  GEIST_TRY(write_file((folder / "geist.c").string(), run_file_source()));
  if (same) return {};
  if (one_file) return write_model(file, target);  // a link would change with what it was made from
  fs::rename(staged, target, failed);
  if (failed) return errorf("%s: cannot be written: %s", target.c_str(), failed.message().c_str());
  return {};
}

}  // namespace

Command export_command() {
  return {"export", "Write a model as two files, parameters and C source, that run anywhere",
          "geist export stories15M ./mind\n"
          "cd mind && cc -O2 geist.c -o g && ./g model.gguf 'Once upon a time'",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<ExportOptions>();
            app.add_option("model", options->model,
                           "a GGUF file, a Hugging Face folder or a name in the model store")
                ->required();
            app.add_option("folder", options->folder, "where model.gguf, geist.c and README go")
                ->required();
            app.add_flag("--force", options->force,
                         "replace files of these names that are not from an export");
            return [options] {
              const Status status = export_model(*options);
              return status.ok() ? kDone : fail(status.error());
            };
          }};
}

}  // namespace geist::cli
