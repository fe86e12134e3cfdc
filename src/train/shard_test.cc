#include "train/shard.h"

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "train/train_test_support.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

std::string shard_file(const std::string& name) {
  ShardWriter writer(sha256({}), 10);
  writer.add(std::vector<text::TokenId>{1, 2, 3}, 5);
  writer.add(std::vector<text::TokenId>{}, 0);
  writer.add(std::vector<text::TokenId>{9, 0}, 2);
  const std::string path = (fs::temp_directory_path() / name).string();
  must(writer.write(path));
  EXPECT_EQ(writer.documents(), 0);  // starts anew
  return path;
}

TEST(Shard, DocumentsComeBack) {
  const std::string path = shard_file("geist-shard-back");
  const Shard shard = must(Shard::open(path));
  fs::remove(path);
  const ShardView& view = shard.view();
  ASSERT_EQ(view.documents(), 3);
  EXPECT_EQ(view.tokens(), 5);
  EXPECT_EQ(view.text_bytes(), 7u);
  EXPECT_EQ(view.vocabulary(), sha256({}));
  const auto ids = [&](int64_t i) {
    return std::vector<text::TokenId>(view.document(i).begin(), view.document(i).end());
  };
  EXPECT_EQ(ids(0), (std::vector<text::TokenId>{1, 2, 3}));
  EXPECT_EQ(ids(1), std::vector<text::TokenId>{});
  EXPECT_EQ(ids(2), (std::vector<text::TokenId>{9, 0}));
}

TEST(Shard, EveryCutAndEveryFlippedByteIsRefused) {
  const std::string path = shard_file("geist-shard-bad");
  const std::string whole = must(read_file(path));
  fs::remove(path);
  std::vector<uint64_t> aligned(whole.size() / 8 + 1);
  auto* bytes = reinterpret_cast<std::byte*>(aligned.data());
  std::memcpy(bytes, whole.data(), whole.size());
  ASSERT_TRUE(ShardView::parse({bytes, whole.size()}, "x").ok());
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_FALSE(ShardView::parse({bytes, i}, "x").ok()) << i;
    bytes[i] ^= std::byte{0x10};
    const auto flipped = ShardView::parse({bytes, whole.size()}, "x");
    ASSERT_FALSE(flipped.ok()) << i;
    EXPECT_EQ(flipped.error().message.find('\n'), std::string::npos);
    bytes[i] ^= std::byte{0x10};
  }
}

TEST(Corpus, ShardsStandBehindDocumentsInMemory) {
  Corpus mapped, memory;
  for (Corpus* corpus : {&mapped, &memory}) corpus->add(std::vector<text::TokenId>{7, 8}, 3);
  for (const char* name : {"geist-shard-a", "geist-shard-b"}) {
    const std::string path = shard_file(name);
    mapped.add(must(Shard::open(path)));
    fs::remove(path);
    memory.add(std::vector<text::TokenId>{1, 2, 3}, 5);
    memory.add(std::vector<text::TokenId>{}, 0);
    memory.add(std::vector<text::TokenId>{9, 0}, 2);
  }
  ASSERT_EQ(mapped.documents(), memory.documents());
  EXPECT_EQ(mapped.predictions(), memory.predictions());
  EXPECT_EQ(mapped.text_bytes(), memory.text_bytes());
  for (int64_t i = 0; i < memory.documents(); ++i)
    EXPECT_TRUE(std::ranges::equal(mapped.document(i), memory.document(i))) << i;
}

}  // namespace
}  // namespace geist::train
