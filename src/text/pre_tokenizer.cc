#include "text/pre_tokenizer.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <string>

#include "base/check.h"
#include "text/pre_tokenizer_matchers.h"
#include "text/tokenizer_check.h"

// run_pass() turns a matcher into cuts: matches become pieces and so does what lies between them.
// A pass that looks for little (digits, newlines, ideographs) does not visit the pieces in which
// its matches cannot begin, so that a list of five passes costs little more than the one among them
// that cuts words.

namespace geist::text {
namespace {

using namespace pre_tokenizer;

using Words = std::function<void(std::span<const size_t>)>;

// Where a pass puts the ends of its pieces: they go on in batches that fit the cache, to the next
// pass or to the caller.
class Ends {
 public:
  explicit Ends(const Words& next) : next_(next) {}
  void add(size_t end) {
    batch_[count_++] = end;
    if (count_ == batch_.size()) flush();
  }
  void flush() {
    if (count_ > 0) next_(std::span(batch_).first(count_));
    count_ = 0;
  }

 private:
  const Words& next_;
  std::array<size_t, 512> batch_;
  size_t count_ = 0;
};

// The pieces of the pass before: the first begins at `begin`, each ends where the next begins.
struct PieceList {
  size_t begin;
  std::span<const size_t> ends;
};

// No matcher reads a character of its piece more often.
constexpr size_t kLooksMax = 16;

// start(i): the first place at or behind i where a match may begin.
template <size_t (*match)(const Piece&, size_t), typename Start>
void cut_piece(const Piece& piece, size_t begin, const Start& start, Ends& out) {
  size_t gap = begin;  // where unmatched text began
  for (size_t i = start(begin); i < piece.end();) {
    const size_t end = match(piece, i);
    if (end == i) {
      i = start(i + piece.at(i).length);
      continue;
    }
    if (gap < i) out.add(i);
    out.add(end);
    gap = end;
    i = start(end);
  }
  if (gap < piece.end()) out.add(piece.end());
  GEIST_CHECK(piece.looks() <= kLooksMax * (piece.end() - begin));
}

template <size_t (*match)(const Piece&, size_t)>
void run_pass(std::string_view text, PieceList in, Ends& out) {
  const ClassTable& table = class_table();
  size_t begin = in.begin;
  for (const size_t end : in.ends) {
    cut_piece<match>(
        Piece(text, end, table), begin, [](size_t i) { return i; }, out);
    begin = end;
  }
}

// For a pass whose matches contain an ASCII character of a set or any beyond ASCII. Where they
// begin:
enum class Begins { kThere, kThereOrSpaceBefore, kAnywhere };

template <size_t (*match)(const Piece&, size_t), bool (*contains)(unsigned),
          Begins begins = Begins::kThere>
void run_sparse_pass(std::string_view text, PieceList in, Ends& out) {
  static constexpr ByteSet kContains(contains);
  const ClassTable& table = class_table();
  size_t begin = in.begin, next = in.begin;  // next: no byte of the set lies before it
  for (const size_t end : in.ends) {
    if (next < end) next = kContains.find(text, std::max(next, begin), in.ends.back());
    if (next < end) {
      const auto start = [&](size_t i) {
        if (begins == Begins::kAnywhere) return i;
        const size_t at = kContains.find(text, i, end);
        const bool back = begins == Begins::kThereOrSpaceBefore && at > i &&
                          (table.of_ascii(static_cast<unsigned char>(text[at - 1])) & kSpace) != 0;
        return back ? at - 1 : at;
      };
      cut_piece<match>(Piece(text, end, table), begin, start, out);
    } else {
      out.add(end);
    }
    begin = end;
  }
}

constexpr bool no_byte(unsigned) { return false; }

// \s+$
void cut_trailing_space(std::string_view text, PieceList in, Ends& out) {
  const ClassTable& table = class_table();
  size_t begin = in.begin;
  for (const size_t end : in.ends) {
    const char last = text[end - 1];
    size_t space = end;  // where the white space at the end begins
    if (static_cast<signed char>(last) < 0 || (table.of_ascii(last) & kSpace) != 0) {
      const Piece piece(text, end, table);
      space = begin;
      for (size_t i = begin; i < end;) {
        const Char c = piece.at(i);
        i += c.length;
        if (!c.is(kSpace)) space = i;
      }
    }
    if (space > begin && space < end) out.add(space);
    out.add(end);
    begin = end;
  }
}

void run_cut(Cut cut, std::string_view text, PieceList in, Ends& out) {
  switch (cut) {
    case Cut::kGpt2:
      return run_pass<match_gpt2>(text, in, out);
    case Cut::kLlama3:
      return run_pass<match_llama3<3, kLetter>>(text, in, out);
    case Cut::kQwen2:
      return run_pass<match_llama3<1, kLetter>>(text, in, out);
    case Cut::kQwen35:
      return run_pass<match_llama3<1, kLetter | kMark>>(text, in, out);
    case Cut::kGpt4o:
      return run_pass<match_case<3, true>>(text, in, out);
    case Cut::kTekken:
      return run_pass<match_case<1, false>>(text, in, out);
    case Cut::kDeepSeek3:
      return run_pass<match_deepseek3>(text, in, out);
    case Cut::kDigits1:
      return run_sparse_pass<match_class<kNumber, 1>, is_ascii_digit>(text, in, out);
    case Cut::kDigits3:
      return run_sparse_pass<match_class<kNumber, 3>, is_ascii_digit>(text, in, out);
    case Cut::kDigitRuns:
      return run_sparse_pass<match_class<kNumber, 0>, is_ascii_digit>(text, in, out);
    case Cut::kAsciiDigits3:
      return run_sparse_pass<match_ascii_digits3, is_ascii_digit>(text, in, out);
    case Cut::kPunctuation:
      return run_sparse_pass<match_punctuation<false>, is_ascii_punctuation>(text, in, out);
    case Cut::kPunctuationTick:
      return run_sparse_pass<match_punctuation<true>, is_ascii_punctuation>(text, in, out);
    case Cut::kNewlines:
      return run_sparse_pass<match_newline, is_newline>(text, in, out);
    case Cut::kSpacedLetters:
      return run_pass<match_spaced_class<kLetter>>(text, in, out);
    case Cut::kSpacedPunctuation:
      return run_sparse_pass<match_spaced_class<kPunct>, is_ascii_punctuation,
                             Begins::kThereOrSpaceBefore>(text, in, out);
    case Cut::kCasedLetters:
      return run_pass<match_cased_letters>(text, in, out);
    case Cut::kDeepSeekSymbols:
      // A piece of ASCII letters alone would be one match: kCasedLetters has cut it already.
      return run_sparse_pass<match_deepseek_symbols, is_ascii_punctuation, Begins::kAnywhere>(
          text, in, out);
    case Cut::kTrailingSpace:
      return cut_trailing_space(text, in, out);
    case Cut::kCjk:
      return run_sparse_pass<match_cjk, no_byte>(text, in, out);
    case Cut::kKana:
      return run_sparse_pass<match_kana, no_byte>(text, in, out);
    case Cut::kBloom:
      return run_pass<match_bloom>(text, in, out);
  }
}

// Runs the passes from the first of `cuts` on. begins[k] is how far pass k has come.
void run_passes(std::span<const Cut> cuts, std::string_view text, std::span<const size_t> ends,
                std::span<size_t> begins, const Words& words) {
  if (cuts.empty()) return words(ends);
  const Words next = [&](std::span<const size_t> batch) {
    run_passes(cuts.subspan(1), text, batch, begins.subspan(1), words);
  };
  Ends out(cuts.size() == 1 ? words : next);
  run_cut(cuts.front(), text, {begins.front(), ends}, out);
  out.flush();
  begins.front() = ends.back();
}

struct Name {
  std::string_view name;
  std::vector<Cut> cuts;
};

const std::vector<Name>& names() {
  using enum Cut;
  static const std::vector<Cut> gpt2 = {kGpt2}, llama3 = {kLlama3}, qwen2 = {kQwen2},
                                gpt4o = {kGpt4o}, digits_gpt2 = {kDigits1, kGpt2},
                                deepseek3 = {kDigits3, kKana, kDeepSeek3}, bloom = {kBloom};
  static const std::vector<Name> table = {
      {"default", {kPunctuation, kGpt2, kDigitRuns, kAsciiDigits3}},
      {"gpt-2", gpt2},
      {"phi-2", gpt2},
      {"jina-es", gpt2},
      {"jina-de", gpt2},
      {"jina-v1-en", gpt2},
      {"jina-v2-es", gpt2},
      {"jina-v2-de", gpt2},
      {"jina-v2-code", gpt2},
      {"roberta-bpe", gpt2},
      {"mpt", gpt2},
      {"olmo", gpt2},
      {"jais", gpt2},
      {"trillion", gpt2},
      {"granite-docling", gpt2},
      {"gigachat", gpt2},
      {"a.x-4.0", gpt2},
      {"mellum", gpt2},
      {"modern-bert", gpt2},
      {"exaone4", gpt2},
      {"llama3", llama3},
      {"llama-v3", llama3},
      {"llama-bpe", llama3},
      {"falcon3", llama3},
      {"falcon-h1", llama3},
      {"pixtral", llama3},
      {"midm-2.0", llama3},
      {"lfm2", llama3},
      {"dbrx", llama3},
      {"smaug-bpe", llama3},
      {"chatglm-bpe", llama3},
      {"glm4", llama3},
      {"qwen2", qwen2},
      {"deepseek-r1-qwen", qwen2},
      {"stablelm2", qwen2},
      {"hunyuan", qwen2},
      {"megrez", qwen2},
      {"grok-2", qwen2},
      {"solar-open", qwen2},
      {"qwen35", {kQwen35}},
      {"deepseek-llm",
       {kNewlines, kCasedLetters, kDeepSeekSymbols, kTrailingSpace, kCjk, kDigitRuns}},
      {"deepseek-coder", {kNewlines, kSpacedLetters, kSpacedPunctuation, kCjk, kDigits1}},
      {"deepseek-v3", deepseek3},
      {"hunyuan-dense", deepseek3},
      {"falcon", {kPunctuationTick, kGpt2, kAsciiDigits3}},
      {"starcoder", digits_gpt2},
      {"refact", digits_gpt2},
      {"command-r", digits_gpt2},
      {"smollm", digits_gpt2},
      {"codeshell", digits_gpt2},
      {"exaone", digits_gpt2},
      {"minerva-7b", digits_gpt2},
      {"mellum2", digits_gpt2},
      {"bloom", bloom},
      {"poro-chat", bloom},
      {"gpt3-finnish", bloom},
      {"viking", {kBloom, kDigits1}},
      {"tekken", {kTekken}},
      {"gpt-4o", gpt4o},
      {"llama4", gpt4o},
      {"kanana2", gpt4o},
      {"minimax-m2", gpt4o},
  };
  return table;
}

}  // namespace

Result<PreTokenizer> PreTokenizer::by_name(std::string_view name) {
  if (name.empty()) name = "default";
  for (const Name& known : names())
    if (known.name == name) return PreTokenizer(known.cuts);
  return errorf("tokenizer: the pre-tokenizer '%s' is not known; a newer geist may support it",
                shown(name).c_str());
}

std::vector<std::string_view> PreTokenizer::different_names() {
  std::vector<const Name*> different;
  for (const Name& known : names()) {
    const auto same = [&](const Name* other) { return other->cuts == known.cuts; };
    if (std::none_of(different.begin(), different.end(), same)) different.push_back(&known);
  }
  std::vector<std::string_view> out;
  for (const Name* known : different) out.push_back(known->name);
  return out;
}

bool PreTokenizer::adds_bos(std::string_view name) { return ignores_merges(name); }

bool PreTokenizer::ignores_merges(std::string_view name) {
  static constexpr std::string_view kNames[] = {"llama3",   "llama-v3",  "llama-bpe",
                                                "falcon3",  "falcon-h1", "pixtral",
                                                "midm-2.0", "lfm2",      "tekken"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

void PreTokenizer::split(std::string_view text,
                         const std::function<void(std::span<const size_t>)>& words) const {
  if (text.empty()) return;
  const size_t whole[] = {text.size()};
  std::vector<size_t> begins(cuts_.size());
  run_passes(cuts_, text, whole, begins, words);
}

}  // namespace geist::text
