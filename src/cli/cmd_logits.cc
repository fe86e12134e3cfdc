// geist logits: the logits of every position of a token sequence, for comparison with other
// programs. The chunk size changes speed and memory, never a bit.
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/npy.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "engine/finite.h"

namespace geist::cli {
namespace {

struct LogitsOptions {
  ModelOptions model;
  std::string tokens, out;
  int32_t chunk = 512;
};

Status write_logits(const LogitsOptions& options, std::span<const text::TokenId> tokens) {
  auto loaded = load_model(options.model);
  if (!loaded.ok()) return loaded.error();
  GEIST_TRY(refuse_overwriting(options.out, loaded->files()));
  const model::Config& config = loaded->model->config();
  if (!config.has_logits) {
    return errorf("%s: a %s model has no logits; 'geist embed' gives its embeddings",
                  options.model.model.c_str(), config.architecture.c_str());
  }
  engine::Session session(*loaded->model, {.context_max = options.model.context_max,
                                           .kv_type = loaded->kv_type,
                                           .adapters = loaded->adapters});
  if (Status status = session.append(tokens); !status) return status;
  const RemoveOnInterrupt guard(options.out);
  auto npy =
      NpyWriter::create(options.out, {static_cast<int64_t>(tokens.size()), config.vocab_size});
  if (!npy.ok()) return npy.error();
  engine::Runner runner(*loaded->model, *loaded->pool);
  Status written;
  Progress progress("logits", tokens.size(), Progress::Unit::kItems);
  const engine::PassOptions pass{
      .tokens_max = options.chunk,
      .on_row = [&](const engine::Session&, int32_t, std::span<const float> row) {
        if (written.ok()) written = engine::check_finite(row);
        if (written.ok()) written = npy->append(row);
      }};
  while (session.pending() > 0 && written.ok()) {
    runner.pass(session, pass);
    progress.update(static_cast<uint64_t>(session.length() - session.pending()));
  }
  return written.ok() ? npy->commit() : written;
}

int run_logits(const LogitsOptions& options) {
  const auto tokens = parse_tokens(options.tokens);
  if (!tokens.ok()) return usage("%s", tokens.error().message.c_str());
  if (Status status = write_logits(options, *tokens); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command logits_command() {
  return {"logits", "Write the logits of all positions as a .npy file",
          "geist logits model.gguf --tokens 1,15043,3186 --out logits.npy\n"
          "geist logits model.gguf --tokens 1,2,3 --out logits.npy --chunk 1 -t 2",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<LogitsOptions>();
            add_model_options(app, options->model);
            add_context_option(app, options->model);
            add_lora_option(app, options->model);
            add_kv_option(app, options->model);
            app.add_option("--tokens", options->tokens,
                           "token ids with commas between, taken as they are")
                ->required();
            app.add_option("--out", options->out,
                           "the file: float32 [tokens, vocabulary]; - is standard output")
                ->required();
            app.add_option("--chunk", options->chunk, "tokens in a forward pass")
                ->capture_default_str()
                ->check(CLI::Range(1, 1 << 20));
            return [options] { return run_logits(*options); };
          }};
}

}  // namespace geist::cli
