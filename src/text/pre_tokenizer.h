// Pre-tokenizers: how byte-level BPE cuts a text into words before merging. Models publish them as
// regular expressions; these are the same cuts written by hand, without a regex engine, so that the
// time is linear whatever the text is. The patterns stand beside their code in pre_tokenizer.cc.
//
// Invalid UTF-8 counts, byte by byte, as a symbol (what U+FFFD is).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::text {

// One pass. Passes run in order; each cuts every piece of the pass before it further.
enum class Cut : uint8_t {
  kGpt2,               // GPT-2's words
  kLlama3,             // Llama 3's words, digits in threes
  kQwen2,              // the same, digits singly
  kQwen35,             // the same, marks belong to words
  kGpt4o,              // words by case, digits in threes
  kTekken,             // words by case, no contractions, digits singly
  kDeepSeek3,          // words with marks; punctuation takes the letters behind it
  kDigits1,            // \p{N}
  kDigits3,            // \p{N}{1,3}
  kDigitRuns,          // \p{N}+
  kAsciiDigits3,       // [0-9][0-9][0-9]
  kPunctuation,        // [\p{P}$+<=>^~|]+
  kPunctuationTick,    // the same and the grave accent
  kNewlines,           // [\r\n]
  kSpacedLetters,      // \s?\p{L}+
  kSpacedPunctuation,  // \s?\p{P}+
  kCasedLetters,       // \s?[letters of DeepSeek-LLM's list]+
  kDeepSeekSymbols,    // \s?[!-/:-~ and full-width forms]+
  kTrailingSpace,      // \s+$
  kCjk,                // [U+4E00-U+9FA5 U+0800-U+4E00 U+AC00-U+D7FF]+
  kKana,               // [U+4E00-U+9FA5 U+3040-U+309F U+30A0-U+30FF]+
  kBloom,              //  ?[^(\s|.,!?...)]+
};

class PreTokenizer {
 public:
  // By the name in tokenizer.ggml.pre; "" is "default". An error for names that are not known.
  static Result<PreTokenizer> by_name(std::string_view name);
  // One name for each list of passes, the plainest first: what to measure and to test.
  static std::vector<std::string_view> different_names();
  // What such a name also implies, where the file does not say: Llama 3 and Tekken add BOS and take
  // a word that is a token whole.
  static bool adds_bos(std::string_view name);
  static bool ignores_merges(std::string_view name);
  // The name whose passes these regular expressions are, as a tokenizer.json lists them; empty if
  // none.
  static std::string_view name_of_patterns(const std::vector<std::string>& patterns);
  // The other way round; empty for names without a list of their own.
  static std::vector<std::string> patterns_of_name(std::string_view name);

  // Gives the end of each word, ascending, in batches; the last is text.size().
  void split(std::string_view text,
             const std::function<void(std::span<const size_t>)>& words) const;

 private:
  explicit PreTokenizer(std::vector<Cut> cuts) : cuts_(std::move(cuts)) {}
  std::vector<Cut> cuts_;
};

}  // namespace geist::text
