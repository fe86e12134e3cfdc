// geist embed: one vector a line of text, pooled as the model's file asks and scaled to length 1.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/npy.h"
#include "cli/output.h"
#include "engine/finite.h"
#include "model/load_tokenizer.h"

namespace geist::cli {
namespace {

using Vector = std::vector<float>;

struct EmbedOptions {
  ModelOptions model;
  std::optional<std::string> tokens;
  std::string out;
  bool json = false;
};

Result<Vector> embed(const LoadedModel& loaded, engine::Runner& runner, int32_t context_max,
                     std::span<const text::TokenId> tokens) {
  const model::Config& config = loaded.model->config();
  if (tokens.empty()) return errorf("an empty line has no embedding for this model");
  engine::Session session(*loaded.model, {.context_max = context_max});
  if (Status status = session.append(tokens); !status) return status.error();
  Vector rows;
  rows.reserve(tokens.size() * static_cast<size_t>(config.embedding_length));
  const engine::PassOptions pass{
      .tokens_max =
          config.causal ? 512 : session.length(),  // what looks both ways goes in one pass
      .output = model::Output::kHidden,
      .on_row = [&](const engine::Session&, int32_t, std::span<const float> row) {
        rows.insert(rows.end(), row.begin(), row.end());
      }};
  while (session.pending() > 0) runner.pass(session, pass);
  Vector out(static_cast<size_t>(config.embedding_length));
  model::pool_embedding(*loaded.model, rows, out.data());
  GEIST_TRY(engine::check_finite(out));
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    at = end + 1;
  }
  return lines;
}

Result<std::vector<Vector>> embed_input(const EmbedOptions& options, const LoadedModel& loaded) {
  const auto text = read_file("-");
  if (!text.ok()) return text.error();
  const auto tokenizer = model::load_tokenizer(loaded.model->file().metadata());
  if (!tokenizer.ok()) return Error{options.model.model + ": " + tokenizer.error().message};
  engine::Runner runner(*loaded.model, *loaded.pool);
  std::vector<Vector> vectors;
  for (const std::string& line : lines_of(*text)) {
    auto vector = embed(loaded, runner, options.model.context_max, tokenizer->encode(line));
    if (!vector.ok()) {
      return errorf("line %zu: %s", vectors.size() + 1, vector.error().message.c_str());
    }
    vectors.push_back(std::move(*vector));
  }
  return vectors;
}

Status write_npy(const std::string& path, std::span<const Vector> vectors,
                 std::vector<int64_t> shape) {
  const RemoveOnInterrupt guard(path);
  auto npy = NpyWriter::create(path, std::move(shape));
  if (!npy.ok()) return npy.error();
  for (const Vector& vector : vectors) {
    if (Status status = npy->append(vector); !status) return status;
  }
  return npy->commit();
}

std::string plain_text(std::span<const Vector> vectors) {
  std::string out;
  char number[32];
  for (const Vector& vector : vectors) {
    for (size_t i = 0; i < vector.size(); ++i) {
      std::snprintf(number, sizeof number, "%s%.9g", i == 0 ? "" : " ",
                    static_cast<double>(vector[i]));
      out += number;
    }
    out += '\n';
  }
  return out;
}

Status run(const EmbedOptions& options, std::span<const text::TokenId> tokens) {
  auto loaded = load_model(options.model);
  if (!loaded.ok()) return loaded.error();
  GEIST_TRY(refuse_overwriting(options.out, loaded->files()));
  const int64_t width = loaded->model->config().embedding_length;
  if (!tokens.empty()) {  // exact ids, one vector
    engine::Runner runner(*loaded->model, *loaded->pool);
    auto vector = embed(*loaded, runner, options.model.context_max, tokens);
    if (!vector.ok()) return vector.error();
    return write_npy(options.out, {&*vector, 1}, {width});
  }
  const auto vectors = embed_input(options, *loaded);
  if (!vectors.ok()) return vectors.error();
  if (!options.out.empty())
    return write_npy(options.out, *vectors, {static_cast<int64_t>(vectors->size()), width});
  return write_output(options.json ? nlohmann::json(*vectors).dump() + "\n" : plain_text(*vectors));
}

int run_embed(const EmbedOptions& options) {
  std::vector<text::TokenId> tokens;
  if (options.json && !options.out.empty())
    return usage("--json is for standard output, not --out");
  if (options.tokens) {
    auto parsed = parse_tokens(*options.tokens);
    if (!parsed.ok()) return usage("%s", parsed.error().message.c_str());
    if (options.out.empty()) return usage("--tokens needs --out");
    tokens = std::move(*parsed);
  }
  if (Status status = run(options, tokens); !status) return fail(status.error());
  return kDone;
}

}  // namespace

Command embed_command() {
  return {"embed", "Turn lines of text into vectors",
          "geist embed minilm.gguf --json < lines.txt          an array of arrays\n"
          "geist embed minilm.gguf --out vectors.npy < lines.txt   float32 [lines, width]\n"
          "geist embed minilm.gguf --tokens 101,7592,102 --out vector.npy   float32 [width]",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<EmbedOptions>();
            add_model_options(app, options->model);
            add_context_option(app, options->model);
            app.add_flag("--json", options->json, "one JSON array with an array for each line");
            app.add_option("--tokens", options->tokens,
                           "token ids with commas between, instead of text");
            app.add_option("--out", options->out,
                           "a .npy file instead of text; - is standard output");
            return [options] { return run_embed(*options); };
          }};
}

}  // namespace geist::cli
