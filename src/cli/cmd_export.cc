// geist export: a mind to carry on a stick. The two files, and three lines about them.
#include <unistd.h>

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

// Another name for the same file, if the file system can; false where it has to be copied.
bool link_file(const std::string& from, const std::string& to) {
  std::error_code failed;
  const std::string temporary = to + ".tmp." + std::to_string(::getpid());
  fs::create_hard_link(fs::canonical(from, failed), temporary, failed);
  if (failed) return false;
  fs::rename(temporary, to, failed);
  if (failed) fs::remove(temporary, failed);
  // Renaming onto another link of the same file does nothing, and leaves both names.
  std::error_code ignored;
  fs::remove(temporary, ignored);
  return !failed;
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

Status export_model(const std::string& model, const std::string& folder) {
  GEIST_ASSIGN(const std::string path, find_model(model));
  GEIST_ASSIGN(const gguf::File file, model::open_model_file(path));
  GEIST_TRY(model::read_model_config(file));  // what geist run refuses, the run file need not read
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return errorf("%s: cannot be made: %s", folder.c_str(), failed.message().c_str());
  const std::string target = (fs::path(folder) / "model.gguf").string();
  const bool one_file =
      fs::is_regular_file(path, failed) && file.file_bytes() == fs::file_size(path, failed);
  if (one_file) GEIST_TRY(check_run_file_reads(path));
  if (!one_file || !link_file(path, target)) GEIST_TRY(write_model(file, target));
  if (!one_file) {
    if (Status read = check_run_file_reads(target); !read.ok()) {
      fs::remove(target, failed);
      return read;
    }
  }
  GEIST_TRY(write_file((fs::path(folder) / "geist.c").string(), run_file_source()));
  return write_file((fs::path(folder) / "README").string(), kReadme);
}

}  // namespace

Command export_command() {
  return {
      "export", "Write a model as two files, parameters and C source, that run anywhere",
      "geist export stories15M ./mind\n"
      "cd mind && cc -O2 geist.c -o g && ./g model.gguf 'Once upon a time'",
      [](CLI::App& app) -> std::function<int()> {
        auto model = std::make_shared<std::string>();
        auto folder = std::make_shared<std::string>();
        app.add_option("model", *model,
                       "a GGUF file, a Hugging Face folder or a name in the model store")
            ->required();
        app.add_option("folder", *folder, "where model.gguf, geist.c and README go")->required();
        return [model, folder] {
          const Status status = export_model(*model, *folder);
          return status.ok() ? kDone : fail(status.error());
        };
      }};
}

}  // namespace geist::cli
