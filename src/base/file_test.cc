#include "base/file.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace geist {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const char* name) const { return (folder_ / name).string(); }
  fs::path folder_;
};

TEST_F(FileTest, AtomicFileAppearsOnlyAtCommit) {
  {
    auto file = AtomicFile::create(path("a"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
    EXPECT_FALSE(fs::exists(path("a")));
  }
  EXPECT_TRUE(fs::is_empty(folder_)) << "an abandoned write must leave nothing behind";
  ASSERT_TRUE(write_file(path("a"), "whole").ok());
  EXPECT_EQ(read_file(path("a")).value(), "whole");
}

TEST_F(FileTest, ErrorsNameThePath) {
  const auto missing = MappedFile::open(path("missing"));
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("missing"), std::string::npos);
  EXPECT_FALSE(MappedFile::open(folder_.string()).ok());
  EXPECT_FALSE(write_file(path("no/such/folder"), "x").ok());
}

TEST_F(FileTest, MapsAndRefusesTooLarge) {
  ASSERT_TRUE(write_file(path("b"), std::string(10000, 'x')).ok());
  const auto mapped = MappedFile::open(path("b"));
  ASSERT_TRUE(mapped.ok());
  EXPECT_EQ(mapped->bytes().size(), 10000u);
  mapped->release(1, 9000);
  EXPECT_EQ(mapped->bytes()[5000], std::byte{'x'});
  EXPECT_FALSE(read_file(path("b"), 9999).ok());
  ASSERT_TRUE(write_file(path("empty"), "").ok());
  EXPECT_EQ(MappedFile::open(path("empty"))->bytes().size(), 0u);
}

}  // namespace
}  // namespace geist
