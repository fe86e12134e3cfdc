#include "train/chat_data.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "train/gradient.h"
#include "train/train_test_support.h"

namespace geist::train {
namespace {

using ::testing::ElementsAre;

EncodedChat chat_of(int first, int size) {
  EncodedChat chat;
  for (int i = 0; i < size; ++i) {
    chat.ids.push_back((first + 3 * i) % 40);
    if (i > 0) chat.weights.push_back(i % 3 == 0 ? 0.0f : 1.0f);
    if (i > 0 && i % 3 != 0) ++chat.learned;
  }
  return chat;
}

std::vector<EncodedChat> some_chats() {
  std::vector<EncodedChat> chats;
  for (const int size : {9, 20, 5, 31, 12, 2, 17, 40, 8}) chats.push_back(chat_of(size, size));
  return chats;
}

TEST(ChatPacker, EveryEpochHasEverySequenceOnceAndWhole) {
  const std::vector<EncodedChat> chats = some_chats();
  ChatPacker packer(chats, 40, 5, true);
  std::vector<const text::TokenId*> seen;
  std::vector<std::vector<const text::TokenId*>> epochs;
  std::vector<size_t> rows;
  for (int64_t row = 0; epochs.size() < 3; ++row) {
    std::vector<TrainSequence> sequences;
    packer.row(row, &sequences);
    size_t used = 0;
    for (const TrainSequence& s : sequences) {
      used += s.weights.size();
      seen.push_back(s.ids.data());
    }
    EXPECT_LE(used, 40u);
    EXPECT_GT(used, 0u);
    rows.push_back(used);
    if (seen.size() < chats.size()) continue;
    ASSERT_EQ(seen.size(), chats.size()) << "a row went over the end of an epoch";
    epochs.push_back(std::move(seen));
    seen.clear();
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    EXPECT_EQ(epoch, epochs[0]);
    EXPECT_EQ(std::set(epoch.begin(), epoch.end()).size(), chats.size());
  }
  // Row r is the same however one comes to it.
  ChatPacker other(chats, 40, 5, true);
  for (const int64_t row : {7, 0, 3, 7}) {
    std::vector<TrainSequence> a, b;
    packer.row(row, &a);
    other.row(row, &b);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].ids.data(), b[i].ids.data());
  }
}

// Conversations side by side in a row give the bits of conversations by themselves.
TEST(ChatPacker, PackedIsSeparate) {
  const std::vector<EncodedChat> chats = some_chats();
  const TrainedModel trained = small_model();
  ThreadPool pool(2);
  const auto engine = must(GradientEngine::make(trained, pool));
  std::vector<TrainSequence> all;
  for (const EncodedChat& chat : chats) all.push_back({.ids = chat.ids, .weights = chat.weights});

  RowOutputs together, alone;
  engine->clear();
  ASSERT_TRUE(engine->accumulate(all, 0.01f).ok());
  const FloatBlock& gradient = engine->finish();
  const std::vector<float> packed(gradient.data(), gradient.data() + gradient.size());
  ASSERT_TRUE(engine->evaluate(all, &together).ok());
  engine->clear();
  for (const TrainSequence& s : all) {
    ASSERT_TRUE(engine->accumulate({&s, 1}, 0.01f).ok());
    RowOutputs rows;
    ASSERT_TRUE(engine->evaluate({&s, 1}, &rows).ok());
    alone.log_probabilities.insert(alone.log_probabilities.end(), rows.log_probabilities.begin(),
                                   rows.log_probabilities.end());
  }
  const FloatBlock& separate = engine->finish();
  EXPECT_EQ(std::memcmp(packed.data(), separate.data(), packed.size() * sizeof(float)), 0);
  ASSERT_EQ(together.log_probabilities.size(), alone.log_probabilities.size());
  EXPECT_EQ(together.log_probabilities, alone.log_probabilities);
}

}  // namespace
}  // namespace geist::train
