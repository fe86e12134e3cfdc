#include "train/corpus.h"

#include <set>

#include "train/train_test_support.h"

namespace geist::train {
namespace {

// Every prediction of a document as (token, next token), with the document's boundaries kept.
std::multiset<std::pair<int, int>> pairs(const std::vector<TrainSequence>& sequences) {
  std::multiset<std::pair<int, int>> out;
  for (const TrainSequence& s : sequences)
    for (size_t i = 0; i + 1 < s.ids.size(); ++i) out.insert({s.ids[i], s.ids[i + 1]});
  return out;
}

TEST(Packer, RowsAreFullAndNeverCrossDocuments) {
  const Corpus corpus = counting_corpus(50);
  Packer packer(corpus, 48, 7, true);
  ASSERT_GT(packer.rows(), 10);
  EXPECT_EQ(packer.rows(), corpus.predictions() / 48);
  for (int64_t r = 0; r < 2 * packer.rows(); ++r) {
    std::vector<TrainSequence> row;
    packer.row(r, &row);
    size_t predictions = 0;
    for (const TrainSequence& s : row) {
      predictions += s.ids.size() - 1;
      for (size_t i = 0; i + 1 < s.ids.size(); ++i) EXPECT_EQ((s.ids[i] + 1) % 40, s.ids[i + 1]);
    }
    EXPECT_EQ(predictions, 48u);
  }
}

TEST(Packer, AnEpochHoldsEveryPredictionOnceButTheRest) {
  Corpus corpus;
  for (int i = 0; i < 12; ++i) corpus.add(std::vector<text::TokenId>{i, i + 1, i + 2, i + 3}, 4);
  corpus.add(std::vector<text::TokenId>{39}, 1);  // nothing to predict
  corpus.add(std::vector<text::TokenId>{}, 0);
  Packer packer(corpus, 6, 1, true);
  std::vector<TrainSequence> all;
  for (int64_t r = 0; r < packer.rows(); ++r) packer.row(r, &all);
  std::vector<TrainSequence> expected;
  for (int64_t i = 0; i < 12; ++i) expected.push_back({corpus.document(i)});
  EXPECT_EQ(pairs(all), pairs(expected));
}

TEST(Packer, IsAFunctionOfSeedAndRow) {
  const Corpus corpus = counting_corpus(30);
  Packer forward(corpus, 20, 5, true), jumping(corpus, 20, 5, true), other(corpus, 20, 6, true);
  bool differs = false;
  for (int64_t r = 0; r < forward.rows(); ++r) {
    std::vector<TrainSequence> a, b, c;
    forward.row(r, &a);
    jumping.row(3 * jumping.rows() + 1, &b);
    b.clear();
    jumping.row(r, &b);
    other.row(r, &c);
    EXPECT_EQ(pairs(a), pairs(b));
    differs |= pairs(a) != pairs(c);
  }
  EXPECT_TRUE(differs);
}

TEST(Packer, ACorpusShorterThanARowIsOneRow) {
  Corpus corpus;
  corpus.add(std::vector<text::TokenId>{1, 2, 3}, 3);
  Packer packer(corpus, 100, 1, false);
  EXPECT_EQ(packer.rows(), 1);
  std::vector<TrainSequence> row;
  packer.row(5, &row);
  ASSERT_EQ(row.size(), 1u);
  EXPECT_EQ(row[0].ids.size(), 3u);
}

}  // namespace
}  // namespace geist::train
