#include "train/quality.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

#include "base/rng.h"
#include "base/unicode.h"
#include "train/words.h"

namespace geist::train {
namespace {

constexpr std::string_view kEllipsis = "\u2026", kBullet = "\u2022";

struct Measures {
  int64_t words = 0, letter_words = 0, characters = 0, symbols = 0;
  int64_t lines = 0, bullets = 0, ellipses = 0, repeated_lines = 0;
  int64_t runs = 0, repeated_runs = 0;
};

bool has_letter(std::string_view word) {
  for (size_t i = 0; i < word.size();) {
    const CodePoint c = decode_utf8(word, i);
    if (is_letter(c.value)) return true;
    i += c.length;
  }
  return false;
}

int64_t count_symbols(std::string_view word) {
  int64_t count = 0;
  for (size_t i = 0; i < word.size(); ++i) {
    if (word[i] == '#') ++count;
    if (word.substr(i).starts_with(kEllipsis)) ++count;
    if (word.substr(i).starts_with("...")) {
      ++count;
      i += 2;
    }
  }
  return count;
}

void measure_words(std::string_view document, Measures* m) {
  std::vector<uint64_t> hashes;
  std::unordered_set<uint64_t> seen;
  for_each_word(document, [&](std::string_view word) {
    ++m->words;
    m->letter_words += has_letter(word);
    m->symbols += count_symbols(word);
    for (const char c : word) m->characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    hashes.push_back(stream_id(word));
  });
  for (size_t i = 0; i + kRunWords <= hashes.size(); ++i) {
    ++m->runs;
    m->repeated_runs += !seen.insert(run_hash(&hashes[i])).second;
  }
}

void measure_lines(std::string_view document, Measures* m) {
  std::unordered_set<std::string_view> seen;
  for (size_t begin = 0; begin < document.size();) {
    const size_t end = std::min(document.find('\n', begin), document.size());
    std::string_view line = document.substr(begin, end - begin);
    begin = end + 1;
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) continue;
    line = line.substr(first, line.find_last_not_of(" \t\r") + 1 - first);
    ++m->lines;
    m->bullets += line.starts_with(kBullet) || line[0] == '-' || line[0] == '*';
    m->ellipses += line.ends_with("...") || line.ends_with(kEllipsis);
    m->repeated_lines += !seen.insert(line).second;
  }
}

// part / whole > limit, and no division where there is nothing.
bool above(int64_t part, int64_t whole, double limit) {
  return static_cast<double>(part) > limit * static_cast<double>(whole);
}

bool below(int64_t part, int64_t whole, double limit) {
  return static_cast<double>(part) < limit * static_cast<double>(whole);
}

}  // namespace

QualityOptions web_quality() {
  return {.words_min = 50,
          .words_max = 100'000,
          .word_length_min = 3,
          .word_length_max = 10,
          .letter_words_min = 0.8,
          .symbols_max = 0.1,
          .bullet_lines_max = 0.9,
          .ellipsis_lines_max = 0.3,
          .repeated_lines_max = 0.3,
          .repeated_words_max = 0.15};
}

std::string_view quality_fault(std::string_view document, const QualityOptions& o) {
  if (o.utf8 && !is_valid_utf8(document)) return "utf8";
  Measures m;
  measure_words(document, &m);
  measure_lines(document, &m);
  if (m.words < o.words_min) return "words_min";
  if (o.words_max > 0 && m.words > o.words_max) return "words_max";
  if (below(m.characters, m.words, o.word_length_min)) return "word_length_min";
  if (above(m.characters, m.words, o.word_length_max)) return "word_length_max";
  if (below(m.letter_words, m.words, o.letter_words_min)) return "letter_words_min";
  if (above(m.symbols, m.words, o.symbols_max)) return "symbols_max";
  if (above(m.bullets, m.lines, o.bullet_lines_max)) return "bullet_lines_max";
  if (above(m.ellipses, m.lines, o.ellipsis_lines_max)) return "ellipsis_lines_max";
  if (above(m.repeated_lines, m.lines, o.repeated_lines_max)) return "repeated_lines_max";
  if (above(m.repeated_runs, m.runs, o.repeated_words_max)) return "repeated_words_max";
  return {};
}

}  // namespace geist::train
