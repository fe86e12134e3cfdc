// Filters that look at one document by itself: is it text that is worth reading? The measures are
// those of Gopher's data (Rae et al. 2021, "Scaling Language Models", A.1.1).
#pragma once

#include <cstdint>
#include <string_view>

namespace geist::train {

// A word is a run without ASCII white space; a character, a code point. The defaults keep all that
// is UTF-8.
struct QualityOptions {
  bool utf8 = true;  // drop what is not valid UTF-8
  int64_t words_min = 0;
  int64_t words_max = 0;                              // 0: no limit
  double word_length_min = 0, word_length_max = 1e9;  // mean, in characters
  double letter_words_min = 0;                        // share of words with a letter
  double symbols_max = 1e9;                           // '#' and ellipses, for each word
  double bullet_lines_max = 1;                        // share of lines that begin with a bullet
  double ellipsis_lines_max = 1;                      // share of lines that end in an ellipsis
  double repeated_lines_max = 1;                      // share of lines that stood there before
  double repeated_words_max = 1;  // share of runs of five words that stood there before
};

// Gopher's values, for text from the web.
QualityOptions web_quality();

// The key of the option that the document falls short of; empty: it is kept.
std::string_view quality_fault(std::string_view document, const QualityOptions& options);

}  // namespace geist::train
