// geist tokenize: the token ids of the text on standard input, byte for byte (a newline at its end
// counts).
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/unicode.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/tokenizer_source.h"

namespace geist::cli {
namespace {

struct Options {
  std::string source;
  bool json = false;
  bool no_special = false;
};

// The bytes of a token as one word: what cannot be shown is escaped as in C.
std::string shown(const std::string& bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const CodePoint point = decode_utf8(bytes, i);
    const bool plain = point.valid && !is_control(point.value) && point.value != '\\';
    for (size_t k = 0; k < point.length; ++k) {
      const auto byte = static_cast<unsigned char>(bytes[i + k]);
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02X", static_cast<unsigned>(byte));
      if (plain) {
        out += bytes[i + k];
      } else {
        out += byte == '\n' ? "\\n" : byte == '\t' ? "\\t" : byte == '\\' ? "\\\\" : escape;
      }
    }
    i += point.length;
  }
  return out;
}

std::string ids_as_json(const std::vector<text::TokenId>& ids) {
  std::string out = "[";
  for (const text::TokenId id : ids) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(id);
  }
  return out + "]\n";
}

int run_tokenize(const Options& options) {
  const Result<text::Tokenizer> tokenizer = load_tokenizer(options.source);
  if (!tokenizer.ok()) return fail(tokenizer.error());
  const Result<std::string> text = read_file("-");
  if (!text.ok()) return fail(text.error());
  const bool special = !options.no_special;
  const std::vector<text::TokenId> ids =
      tokenizer->encode(*text, {.add_special = special, .parse_special = special});
  std::string out;
  if (options.json) {
    out = ids_as_json(ids);
  } else {
    for (const text::TokenId id : ids)
      out += std::to_string(id) + "\t" + shown(tokenizer->token_bytes(id, true)) + "\n";
  }
  if (const Status status = write_output(out); !status.ok()) return fail(status.error());
  return kDone;
}

}  // namespace

Command tokenize_command() {
  return {"tokenize", "Show the tokens of a text",
          "echo -n 'Hello, world' | geist tokenize model.gguf\n"
          "geist tokenize tokenizer.json --json < text.txt",
          [](CLI::App& app) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option("model", options->source,
                           "a model, a tokenizer.json, or a folder with one")
                ->required();
            app.add_flag("--json", options->json, "print the ids as a JSON array");
            app.add_flag("--no-special", options->no_special,
                         "add no BOS or EOS, and take the text of special tokens as text");
            return [options] { return run_tokenize(*options); };
          }};
}

}  // namespace geist::cli
