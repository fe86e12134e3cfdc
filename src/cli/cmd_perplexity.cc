// geist perplexity, by llama.cpp's definition so that figures compare: the text, tokenised with
// BOS, is cut into windows of n_ctx tokens; the first token of each window is replaced by BOS; the
// second half of each window is scored (positions n_ctx/2 to n_ctx - 2 predict the next token). A
// rest shorter than a window is left out.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "engine/finite.h"
#include "engine/sampler.h"
#include "kernels/math.h"

namespace geist::cli {
namespace {

struct PerplexityOptions {
  ModelOptions model;
  std::string file;
  int32_t window = 512;
  int32_t windows_max = -1;
  bool json = false;
};

// Sums of negative log-probabilities and of their squares.
struct Score {
  double sum = 0, sum_of_squares = 0;
  int64_t count = 0;

  void add(double nll) {
    sum += nll;
    sum_of_squares += nll * nll;
    ++count;
  }
  double perplexity() const { return kernels::det_exp(sum / static_cast<double>(count)); }
  // One standard error of the mean, carried over to the perplexity.
  double error() const {
    const double n = static_cast<double>(count), mean = sum / n;
    const double variance = sum_of_squares / n - mean * mean;
    return count > 1 && variance > 0 ? std::sqrt(variance / (n - 1)) * perplexity() : 0;
  }
};

Status score_window(engine::Runner& runner, engine::Session& session, Score& score) {
  const int32_t length = session.length();
  Status finite;
  const engine::PassOptions pass{
      .on_row =
          [&](const engine::Session& at, int32_t position, std::span<const float> row) {
            if (position + 1 < length) {
              if (finite.ok()) finite = engine::check_finite(row);
              score.add(
                  -engine::log_probability(row, at.tokens()[static_cast<size_t>(position) + 1]));
            }
          },
      .row_from = length / 2};
  while (session.pending() > 0 && finite.ok()) runner.pass(session, pass);
  return finite;
}

Result<Score> score_text(const PerplexityOptions& options, SpeakingModel& loaded,
                         int64_t* window_count) {
  const auto text = read_file(options.file);
  if (!text.ok()) return text.error();
  const text::Vocabulary& vocabulary = loaded.tokenizer->vocabulary();
  std::vector<text::TokenId> tokens = loaded.tokenizer->encode(*text);
  const auto window = static_cast<size_t>(options.window);
  if (tokens.size() < 2 * window) {
    return errorf(
        "%s: %zu tokens are too few; two windows of %zu are needed, give a longer text or a "
        "smaller --ctx",
        options.file.c_str(), tokens.size(), window);
  }
  if (const int32_t trained = loaded.model->config().context_length; options.window > trained)
    note("windows of %d tokens, but the model was trained on %d", options.window, trained);
  int64_t windows = static_cast<int64_t>(tokens.size() / window);
  if (options.windows_max > 0) windows = std::min<int64_t>(windows, options.windows_max);
  engine::Runner runner(*loaded.model, *loaded.pool);
  Progress progress("perplexity", static_cast<uint64_t>(windows) * window, Progress::Unit::kItems);
  Score score;
  for (int64_t i = 0; i < windows; ++i) {
    const std::span<text::TokenId> part =
        std::span(tokens).subspan(static_cast<size_t>(i) * window, window);
    if (vocabulary.add_bos && vocabulary.bos >= 0) part[0] = vocabulary.bos;
    engine::Session session(
        *loaded.model,
        {.context_max = options.window, .kv_type = loaded.kv_type, .adapters = loaded.adapters});
    if (Status status = session.append(part); !status) return status.error();
    GEIST_TRY(score_window(runner, session, score));
    progress.update(static_cast<uint64_t>(i + 1) * window);
  }
  progress.finish();
  *window_count = windows;
  return score;
}

int run_perplexity(const PerplexityOptions& options) {
  auto loaded = load_speaking_model(options.model);
  if (!loaded.ok()) return fail(loaded.error());
  if (!loaded->model->config().has_logits) {
    return fail(errorf("%s: an embedding model has no perplexity", options.model.model.c_str()));
  }
  int64_t windows = 0;
  const auto score = score_text(options, *loaded, &windows);
  if (!score.ok()) return fail(score.error());
  std::string text;
  if (options.json) {
    const nlohmann::ordered_json json = {{"perplexity", score->perplexity()},
                                         {"error", score->error()},
                                         {"tokens_scored", score->count},
                                         {"windows", windows},
                                         {"ctx", options.window}};
    text = json.dump(2) + "\n";
  } else {
    char line[100];
    std::snprintf(line, sizeof line, "PPL = %.4f +/- %.5f\n", score->perplexity(), score->error());
    text = line;
  }
  if (Status status = write_output(text); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command perplexity_command() {
  return {
      "perplexity", "Measure how well a model predicts a text",
      "geist perplexity model.gguf text.txt\ngeist perplexity model.gguf text.txt --ctx 256 --json",
      [](CLI::App& app) -> std::function<int()> {
        auto options = std::make_shared<PerplexityOptions>();
        add_model_options(app, options->model);
        add_lora_option(app, options->model);
        add_kv_option(app, options->model);
        app.add_option("file", options->file, "the text; - is standard input")->required();
        app.add_option("-c,--ctx", options->window, "tokens in a window")
            ->capture_default_str()
            ->check(CLI::Range(4, 1 << 24));
        app.add_option("--windows", options->windows_max, "score only the first windows")
            ->check(CLI::Range(1, 1 << 30));
        app.add_flag("--json", options->json, "one JSON object");
        return [options] { return run_perplexity(*options); };
      }};
}

}  // namespace geist::cli
