#include <algorithm>
#include <span>

#include "text/pre_tokenizer.h"

// The regular expressions that published tokenizer.json files use, and the name of our equivalent.
// They are compared as text after normalising spellings that mean the same.

namespace geist::text {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kBloom = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";
constexpr std::string_view kDeepSeekSymbols =
    "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+";
constexpr std::string_view kCjk = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+";
constexpr std::string_view kKana = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";
constexpr std::string_view kCasedLettersStart =
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6";  // the list is long

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// Newlines written out, possessive quantifiers, and the two spellings of the contractions.
std::string normal_form(std::string pattern) {
  replace_all(pattern, "\r", "\\r");
  replace_all(pattern, "\n", "\\n");
  replace_all(pattern, "?+", "?");
  replace_all(pattern, "++", "+");
  replace_all(pattern, "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
              "(?i:'s|'t|'re|'ve|'m|'ll|'d)");
  replace_all(pattern, "'(?i:[sdmt]|ll|ve|re)", "(?i:'s|'t|'re|'ve|'m|'ll|'d)");
  replace_all(pattern, "\\p{N}{1}|", "\\p{N}|");
  replace_all(pattern, "\\s*[\\r\\n]|",
              "\\s*[\\r\\n]+|");  // the greedy \s* takes the other newlines
  return pattern;
}

struct Known {
  std::vector<std::string_view> patterns;
  std::string_view name;
};

const std::vector<Known>& known_patterns() {
  static const std::vector<Known> table = {
      {{kGpt2}, "gpt-2"},
      {{"\\p{N}", kGpt2}, "smollm"},
      {{kLlama3}, "llama-bpe"},
      {{kQwen2}, "qwen2"},
      {{kQwen35}, "qwen35"},
      {{kGpt4o}, "gpt-4o"},
      {{kTekken}, "tekken"},
      {{"\\p{N}{1,3}", kKana, kDeepSeek3}, "deepseek-v3"},
      {{"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", kCjk, "\\p{N}"}, "deepseek-coder"},
      {{"[\\r\\n]", kCasedLettersStart, kDeepSeekSymbols, "\\s+$", kCjk, "\\p{N}"}, "deepseek-llm"},
      {{"[punctuation]", kGpt2, "\\p{N}+", "[0-9][0-9][0-9]"}, "falcon"},
      {{kBloom}, "bloom"},
      {{kBloom, "\\p{N}"}, "viking"},
  };
  return table;
}

}  // namespace

std::string_view PreTokenizer::name_of_patterns(const std::vector<std::string>& patterns) {
  std::vector<std::string> normal;
  for (const std::string& pattern : patterns) {
    std::string form = normal_form(pattern);
    if (form.starts_with(kCasedLettersStart)) form = kCasedLettersStart;
    normal.push_back(std::move(form));
  }
  for (const Known& known : known_patterns())
    if (std::equal(known.patterns.begin(), known.patterns.end(), normal.begin(), normal.end()))
      return known.name;
  return {};
}

std::vector<std::string> PreTokenizer::patterns_of_name(std::string_view name) {
  for (const Known& known : known_patterns())
    if (known.name == name && known.patterns.back() != kBloom)
      return {known.patterns.begin(), known.patterns.end()};
  return {};
}

}  // namespace geist::text
