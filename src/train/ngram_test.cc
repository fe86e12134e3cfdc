#include "train/ngram.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace geist::train {
namespace {

using Ids = std::vector<text::TokenId>;

// Counts by hand. Documents: 0 1 2, 0 1 3, 0 2 2. Bigrams: 01 twice, 12, 13, 02, 22.
NgramModel by_hand() {
  NgramModel model(2, 5);
  for (const Ids& document : {Ids{0, 1, 2}, Ids{0, 1, 3}, Ids{0, 2, 2}}) model.add(document);
  model.finish(0);
  return model;
}

TEST(Ngram, ProbabilitiesAreThoseOfTheFormula) {
  const NgramModel model = by_hand();
  // Unigrams count what comes before: 1 after {0}, 2 after {1, 0, 2}, 3 after {1}; 0 begins all
  // three documents: 3. Total 8; once: two of them, twice: none, so the discount is 0.5.
  const auto unigram = [](double count) { return (count - 0.5) / 8 + 4 * 0.5 / 8 / 5; };
  EXPECT_DOUBLE_EQ(model.probability({}, 2), unigram(3));
  EXPECT_DOUBLE_EQ(model.probability({}, 4), 4 * 0.5 / 8 / 5);
  // Bigrams: four come once, one twice: D = 4 / 6.
  const double d = 4.0 / 6;
  const Ids zero = {0}, four = {4};
  EXPECT_DOUBLE_EQ(model.probability(zero, 1), (2 - d) / 3 + 2 * d / 3 * unigram(1));
  EXPECT_DOUBLE_EQ(model.probability(zero, 3), 2 * d / 3 * unigram(1));
  EXPECT_DOUBLE_EQ(model.probability(four, 3), unigram(1));  // a history that never came
}

TEST(Ngram, DistributionsSumToOneAtAnySize) {
  for (const int64_t numbers_max : {0, 2000, 700}) {
    RandomStream random(1, "ngram");
    NgramModel model(4, 20);
    Ids all;
    for (int i = 0; i < 60; ++i) {
      Ids document = {0};
      for (int k = 0; k < 40; ++k) {
        const auto step = static_cast<text::TokenId>(random.next_below(4));
        document.push_back(1 + (document.back() + step * step) % 18);
      }
      model.add(document);
      all.insert(all.end(), document.begin(), document.end());
    }
    model.finish(numbers_max);
    EXPECT_TRUE(numbers_max == 0 || model.numbers() <= numbers_max) << model.numbers();
    for (size_t i = 0; i < 300; ++i) {
      double sum = 0;
      for (text::TokenId w = 0; w < 20; ++w) {
        const double p = model.probability(std::span(all).first(i), w);
        EXPECT_GT(p, 0);
        sum += p;
      }
      EXPECT_NEAR(sum, 1, 1e-12) << i;
    }
  }
}

TEST(Ngram, LongerHistoriesPredictBetter) {
  double loss[4] = {};
  for (int order = 1; order <= 3; ++order) {
    NgramModel model(order, 10);
    for (int i = 0; i < 20; ++i) model.add(Ids{0, 1, 2, 3, 1, 2, 4, 1, 2, 3});
    model.finish(0);
    const Ids document = {0, 1, 2, 3, 1, 2, 4};
    double product = 1;
    for (size_t i = 1; i < document.size(); ++i)
      product *= model.probability(std::span(document).first(i), document[i]);
    loss[order] = product;
  }
  EXPECT_LT(loss[1], loss[2]);
  EXPECT_LT(loss[2], loss[3]);
}

}  // namespace
}  // namespace geist::train
