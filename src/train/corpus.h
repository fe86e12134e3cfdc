// Documents as token ids, and packing: rows of a fixed number of predictions cut from a shuffled
// line of documents. A row is as many sequences as it holds pieces of documents, so nothing attends
// across a boundary. Row r of a run is a function of (corpus, context, seed, r): a resumed run
// needs no state of its own.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "train/batch.h"
#include "train/shard.h"

namespace geist::train {

// [BOS] text [EOS], as far as the vocabulary has them: a model learns where a document ends.
std::vector<text::TokenId> document_ids(const text::Tokenizer& tokenizer, std::string_view text);

// Documents in memory, and behind them those of mapped shards.
class Corpus {
 public:
  int64_t documents() const;
  std::span<const text::TokenId> document(int64_t i) const;
  // A document with fewer than two tokens has nothing to predict.
  int64_t predictions() const;
  uint64_t text_bytes() const { return text_bytes_; }  // of the documents, before tokenising
  void add(std::span<const text::TokenId> ids, uint64_t bytes);
  void add(Shard shard);

 private:
  std::vector<text::TokenId> tokens_;
  std::vector<int64_t> ends_;  // of each document in tokens_
  std::vector<Shard> shards_;
  std::vector<int64_t> shard_ends_;  // documents up to the end of each shard, those in memory apart
  uint64_t text_bytes_ = 0;
};

class Packer {
 public:
  // shuffled: the order of the documents is drawn anew for each epoch.
  Packer(const Corpus& corpus, int64_t context, uint64_t seed, bool shuffled);

  // Of an epoch; the rest of a line that fills no row is left out, except when there is no row.
  int64_t rows() const { return rows_; }
  // Appends the sequences of row index = epoch * rows() + row in epoch.
  void row(int64_t index, std::vector<TrainSequence>* out);

 private:
  void start_epoch(int64_t epoch);

  const Corpus& corpus_;
  int64_t context_, rows_ = 0, epoch_ = -1;
  uint64_t seed_;
  bool shuffled_;
  std::vector<int64_t> order_;  // documents
  std::vector<int64_t> ends_;   // of their predictions in the line
};

}  // namespace geist::train
