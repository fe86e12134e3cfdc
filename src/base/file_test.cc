#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace geist {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              (std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + "_" +
               std::to_string(::getpid()));
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

TEST_F(FileTest, WhatIsReadIsNotOverwritten) {
  fs::create_directories(folder_ / "in" / "sub");
  for (const char* name : {"a", "b", "in/x.json", "in/sub/y.json", "in/z.gguf"})
    ASSERT_TRUE(write_file(path(name), "x").ok());
  fs::create_symlink("a", path("link"));
  fs::create_hard_link(path("a"), path("hard"));
  const std::vector<std::string> read = {path("a"), path("in"), path("absent")};
  for (const char* name : {"a", "link", "hard", "in/x.json", "in/sub/y.json", "in/../a"}) {
    const Status status = refuse_overwriting(path(name), read);
    ASSERT_FALSE(status.ok()) << name;
    EXPECT_NE(status.error().message.find(path(name)), std::string::npos);
  }
  for (const char* name : {"b", "new", "absent", "in/z.gguf", "in/new"})
    EXPECT_TRUE(refuse_overwriting(path(name), read).ok()) << name;
  EXPECT_TRUE(refuse_overwriting("/dev/null", read).ok());
  EXPECT_TRUE(refuse_overwriting("", read).ok());
}

TEST_F(FileTest, DevicesAndPipesAreWrittenToNotReplaced) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  const int reader = ::open(path("pipe").c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  EXPECT_TRUE(write_file(path("pipe"), "through").ok());
  char got[16] = {};
  EXPECT_EQ(::read(reader, got, sizeof got), 7);
  EXPECT_STREQ(got, "through");
  ::close(reader);
  EXPECT_TRUE(fs::is_fifo(path("pipe")));
  const Status full = write_file("/dev/full", "x");
  EXPECT_FALSE(full.ok());
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(FileTest, AFolderIsRefusedBeforeTheWork) {
  EXPECT_FALSE(AtomicFile::create(folder_.string()).ok());
}

TEST_F(FileTest, ALinkStaysAndItsTargetIsReplaced) {
  ASSERT_TRUE(write_file(path("real"), "old").ok());
  fs::permissions(path("real"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("real", path("link"));
  ASSERT_TRUE(write_file(path("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_file(path("real")).value(), "new");
  EXPECT_EQ(fs::status(path("real")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(FileTest, ADanglingLinkStaysAndItsTargetIsMade) {
  fs::create_directory(path("in"));
  fs::create_symlink("in/real", path("link"));
  fs::create_symlink("link", path("link of link"));
  ASSERT_TRUE(write_file(path("link of link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(path("link of link")));
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(*read_file(path("in/real")), "new");
}

TEST_F(FileTest, APlantedTemporaryLinkIsNotFollowed) {
  ASSERT_TRUE(write_file(path("victim"), "precious").ok());
  fs::create_symlink("victim", AtomicFile::temporary_name(path("out")));
  ASSERT_TRUE(write_file(path("out"), "mine").ok());
  EXPECT_EQ(read_file(path("victim")).value(), "precious");
  EXPECT_EQ(read_file(path("out")).value(), "mine");
}

TEST_F(FileTest, MappingAPipeDoesNotWait) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_FALSE(MappedFile::open(path("pipe")).ok());
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
