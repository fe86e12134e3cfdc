#include "train/corpus.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/check.h"
#include "base/rng.h"

namespace geist::train {
namespace {

int64_t predictions_of(std::span<const text::TokenId> document) {
  return std::max<int64_t>(0, static_cast<int64_t>(document.size()) - 1);
}

}  // namespace

std::vector<text::TokenId> document_ids(const text::Tokenizer& tokenizer, std::string_view text) {
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  std::vector<text::TokenId> ids;
  if (vocabulary.bos >= 0) ids.push_back(vocabulary.bos);
  const auto inner = tokenizer.encode(text, {.add_special = false});
  ids.insert(ids.end(), inner.begin(), inner.end());
  if (vocabulary.eos >= 0) ids.push_back(vocabulary.eos);
  return ids;
}

int64_t Corpus::documents() const {
  return static_cast<int64_t>(ends_.size()) + (shard_ends_.empty() ? 0 : shard_ends_.back());
}

std::span<const text::TokenId> Corpus::document(int64_t i) const {
  const auto in_memory = static_cast<int64_t>(ends_.size());
  if (i >= in_memory) {
    i -= in_memory;
    const auto shard = static_cast<size_t>(
        std::upper_bound(shard_ends_.begin(), shard_ends_.end(), i) - shard_ends_.begin());
    return shards_[shard].view().document(shard == 0 ? i : i - shard_ends_[shard - 1]);
  }
  const int64_t begin = i == 0 ? 0 : ends_[static_cast<size_t>(i) - 1];
  return std::span(tokens_).subspan(static_cast<size_t>(begin),
                                    static_cast<size_t>(ends_[static_cast<size_t>(i)] - begin));
}

int64_t Corpus::predictions() const {
  int64_t sum = 0;
  for (int64_t i = 0; i < documents(); ++i) sum += predictions_of(document(i));
  return sum;
}

void Corpus::add(std::span<const text::TokenId> ids, uint64_t bytes) {
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  ends_.push_back(static_cast<int64_t>(tokens_.size()));
  text_bytes_ += bytes;
}

void Corpus::add(Shard shard) {
  text_bytes_ += shard.view().text_bytes();
  shard_ends_.push_back((shard_ends_.empty() ? 0 : shard_ends_.back()) + shard.view().documents());
  shards_.push_back(std::move(shard));
}

Packer::Packer(const Corpus& corpus, int64_t context, uint64_t seed, bool shuffled)
    : corpus_(corpus), context_(context), seed_(seed), shuffled_(shuffled) {
  GEIST_CHECK(context > 0);
  const int64_t predictions = corpus.predictions();
  rows_ = std::max<int64_t>(predictions / context, predictions > 0 ? 1 : 0);
}

void Packer::start_epoch(int64_t epoch) {
  if (epoch == epoch_) return;
  epoch_ = epoch;
  order_.resize(static_cast<size_t>(corpus_.documents()));
  std::iota(order_.begin(), order_.end(), 0);
  if (shuffled_) {
    RandomStream random(seed_, "documents of epoch " + std::to_string(epoch));
    for (size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[random.next_below(i)]);
  }
  ends_.clear();
  int64_t end = 0;
  for (const int64_t document : order_)
    ends_.push_back(end += predictions_of(corpus_.document(document)));
}

void Packer::row(int64_t index, std::vector<TrainSequence>* out) {
  GEIST_CHECK(rows_ > 0);
  start_epoch(index / rows_);
  int64_t at = index % rows_ * context_;
  const int64_t row_end = std::min(at + context_, ends_.back());
  auto which =
      static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), at) - ends_.begin());
  for (; at < row_end; ++which) {
    const int64_t end = std::min(ends_[which], row_end);
    if (end == at) continue;  // a document without predictions
    const auto document = corpus_.document(order_[which]);
    const int64_t first = at - (ends_[which] - predictions_of(document));
    out->push_back(
        {document.subspan(static_cast<size_t>(first), static_cast<size_t>(end - at) + 1)});
    at = end;
  }
}

}  // namespace geist::train
