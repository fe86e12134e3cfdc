// geist detokenize: the text of token ids, the inverse of geist tokenize. BOS and EOS are left out
// where tokenize puts them; other special tokens are shown.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "base/file.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/tokenizer_source.h"

namespace geist::cli {
namespace {

Result<std::vector<text::TokenId>> parse_ids(const std::string& text, int32_t vocabulary_size) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array())
    return errorf("standard input: a JSON array of token ids is wanted, such as [1, 2, 3]");
  std::vector<text::TokenId> ids;
  ids.reserve(json.size());
  for (const nlohmann::json& item : json) {
    const bool fits =
        item.is_number_integer() && item.get<double>() >= 0 && item.get<double>() < vocabulary_size;
    if (!fits)
      return errorf("standard input: item %zu is no token id; they go from 0 to %d", ids.size(),
                    vocabulary_size - 1);
    ids.push_back(item.get<text::TokenId>());
  }
  return ids;
}

int run_detokenize(const std::string& source) {
  const Result<text::Tokenizer> tokenizer = load_tokenizer(source);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  const Result<std::string> text = read_file("-");
  if (!text.ok()) return fail(text.error());
  const Result<std::vector<text::TokenId>> parsed = parse_ids(*text, tokenizer->size());
  if (!parsed.ok()) return fail(parsed.error());
  std::span<const text::TokenId> ids = *parsed;
  const text::Vocabulary& v = tokenizer->vocabulary();
  const bool wordpiece = v.kind == text::TokenizerKind::kWordPiece;
  if (!ids.empty() && (v.add_bos || wordpiece) && ids.front() == v.bos) ids = ids.subspan(1);
  if (!ids.empty() && (v.add_eos || wordpiece) && ids.back() == (wordpiece ? v.sep : v.eos))
    ids = ids.first(ids.size() - 1);
  if (const Status status = write_output(tokenizer->decode(ids, true)); !status.ok())
    return fail(status.error());
  return kDone;
}

}  // namespace

Command detokenize_command() {
  return {"detokenize", "Turn token ids back into text",
          "echo '[15043, 3186]' | geist detokenize model.gguf\n"
          "geist tokenize model.gguf --json < a.txt | geist detokenize model.gguf",
          [](CLI::App& app) -> std::function<int()> {
            auto source = std::make_shared<std::string>();
            app.add_option("model", *source, "a model, a tokenizer.json, or a folder with one")
                ->required();
            return [source] { return run_detokenize(*source); };
          }};
}

}  // namespace geist::cli
