// geist quantize: a smaller file of the same model. The result appears under its name only when it
// is whole; the input is never touched.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/store.h"
#include "gguf/gguf.h"
#include "model/hf_import.h"
#include "model/quantize.h"

namespace geist::cli {
namespace {

struct QuantizeOptions {
  std::string in, out, type;
  int threads = 0;
};

std::string type_names() {
  std::string text;
  for (const model::FileTypeInfo& info : model::file_types()) {
    text += (text.empty() ? "" : ", ") + std::string(info.name);
  }
  return text;
}

std::string type_help() {
  std::string text = "one of";
  for (const model::FileTypeInfo& info : model::file_types()) {
    text += "\n" + std::string(info.name) + ": " + std::string(info.description);
  }
  return text;
}

bool has_quantized_tensors(const gguf::File& file) {
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (kernels::is_quantized(tensor.type)) return true;
  }
  return false;
}

void report_result(const model::QuantizeReport& report) {
  const double weights = static_cast<double>(std::max<int64_t>(report.weights, 1));
  note("%s of tensors became %s, %.2f bits a weight",
       human_bytes(static_cast<double>(report.bytes_in)).c_str(),
       human_bytes(static_cast<double>(report.bytes_out)).c_str(),
       static_cast<double>(report.bytes_out) * 8 / weights);
  if (report.fallback_count > 0) {
    note("%d tensors have rows that do not fit the type meant for them and got a larger one",
         report.fallback_count);
  }
  if (report.not_finite_count > 0) {
    note("%lld weights are infinite or not a number and became 0; the input may be damaged",
         static_cast<long long>(report.not_finite_count));
  }
}

int run_quantize(const QuantizeOptions& options) {
  const auto type = model::file_type_from_name(options.type);
  if (!type) {
    return usage("%s is not a type to quantise to; give one of %s", options.type.c_str(),
                 type_names().c_str());
  }
  if (options.out == "-") return usage("a model goes to a file, not to standard output");
  const auto path = find_model(options.in);
  if (!path.ok()) return fail(path.error());
  const auto file = model::open_model_file(*path);
  if (!file.ok()) return fail(file.error());
  if (Status status = refuse_overwriting(options.out, file->sources()); !status)
    return fail(status.error());
  if (has_quantized_tensors(*file)) {
    note("%s is quantised already: the result keeps its errors and adds its own", path->c_str());
  }
  const RemoveOnInterrupt guard(options.out);
  const auto pool = ThreadPool::create(options.threads);
  if (!pool.ok()) return fail(pool.error());
  Progress progress("quantising", 0, Progress::Unit::kItems);
  const auto report = model::quantize_file(
      *file, options.out, *type, **pool, [&](const model::QuantizeProgress& state) {
        progress.set_total(static_cast<uint64_t>(state.weights_total));
        progress.update(static_cast<uint64_t>(state.weights_done));
      });
  if (!report.ok()) return fail(report.error());
  progress.finish();
  report_result(*report);
  if (Status status = write_output(options.out + "\n"); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command quantize_command() {
  return {"quantize", "Make a smaller file of a model",
          "geist quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M\n"
          "geist quantize tinyllama tinyllama-q8_0.gguf Q8_0",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<QuantizeOptions>();
            app.add_option("in", options->in,
                           "a GGUF file, a Hugging Face folder, or a name in the model store")
                ->required();
            app.add_option("out", options->out, "the file to write")->required();
            app.add_option("type", options->type, type_help())->required();
            app.add_option("-t,--threads", options->threads,
                           "threads (default: one for each processor)")
                ->check(CLI::Range(1, kThreadsMax));
            return [options] { return run_quantize(*options); };
          }};
}

}  // namespace geist::cli
