// Byte-level byte-pair encoding, learned from counted words (Sennrich et al. 2016; bytes as in
// GPT-2). The pair of neighbouring symbols with the highest count merges next.
//
// Ties are broken by the lower id of the left symbol, then of the right one. Ids are: special
// tokens, then the 256 bytes in the order of their printable stand-ins (the visible bytes of
// Latin-1 first, as GPT-2 and Hugging Face have them), then the merges as they come. With that the
// merges are a function of the word counts alone, and those of the text alone: threads change
// nothing.
//
// Counts are kept exact from one merge to the next: each pair lists the words that it is in, and a
// merge touches only those. The best pair comes from a heap whose entries may be out of date: once
// a pair has been pushed its count only ever falls (all occurrences of a pair arise when its newer
// symbol is made), so an entry that is out of date is pushed again with the count of now.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "text/tokenizer.h"
#include "train/word_counter.h"

namespace geist::train {

// Called now and then with merges done and wanted; false stops the training.
using MergeProgress = std::function<bool(size_t done, size_t total)>;

// A pair of symbols: numbers below 256 are bytes in the order above, 256 + k is what merge k made.
struct MergePair {
  uint32_t left, right;
  bool operator==(const MergePair&) const = default;
};

// At most `merge_count` merges: fewer when no pair comes count_min times any more. A pair whose
// bytes are a symbol already is passed over, so that no two tokens are the same. An error only when
// progress() stopped it.
Result<std::vector<MergePair>> train_merges(std::span<const WordCount> words, size_t merge_count,
                                            uint64_t count_min, ThreadPool& pool,
                                            const MergeProgress& progress);

// The byte that symbol `index` < 256 stands for.
uint8_t byte_of_symbol(uint32_t index);

// Special tokens of a tokenizer made here, ids 0 and up. Turns are ChatML and tool calls are
// written as Qwen and Hermes models write them, so that runners know how to read them.
inline constexpr std::string_view kDocumentToken = "<|endoftext|>";  // before every text; ends it
inline constexpr std::string_view kTurnStart = "<|im_start|>";       // then the role and a newline
inline constexpr std::string_view kTurnEnd = "<|im_end|>";
struct SpecialToken {
  std::string_view text;
  text::TokenType type;  // user-defined ones are shown in the output
};
std::span<const SpecialToken> special_tokens();

// The vocabulary of these merges, special tokens first. `pre` is the pre-tokenizer's name.
text::Vocabulary make_vocabulary(std::span<const MergePair> merges, const std::string& pre);

}  // namespace geist::train
