// The mind that comes with Geist is what its recipe makes.
#include <gtest/gtest.h>

#include "train/pipeline.h"

namespace geist::train {
namespace {

TEST(Mini, HasTheHashOfItsRecipe) {
  const auto hashes = read_hashes(GEIST_SOURCE_DIR "/recipes/mini");
  ASSERT_TRUE(hashes.ok());
  const auto hash = result_hash(GEIST_SOURCE_DIR "/minds/mini.gguf");
  ASSERT_TRUE(hash.ok()) << hash.error().message;
  EXPECT_EQ(*hash, hashes->at("aligned"));
}

}  // namespace
}  // namespace geist::train
