#include "base/memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"

namespace geist {
namespace {

namespace fs = std::filesystem;

// A tree of the files that the kernel shows, with made-up numbers.
class MemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    root_ = testing::TempDir() + "memory_" + info->name() + "_" + std::to_string(::getpid());
    put("/proc/meminfo", "MemTotal:       16000 kB\nMemAvailable:    8000 kB\n");
  }
  void TearDown() override { fs::remove_all(root_); }

  void put(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + path).parent_path());
    ASSERT_TRUE(write_file(root_ + path, text).ok());
  }
  uint64_t available() const { return available_memory_bytes(root_); }

  std::string root_;
};

TEST_F(MemoryTest, TheMachineHasSome) { EXPECT_GT(available_memory_bytes(), 0u); }

TEST_F(MemoryTest, WithoutGroupsTheMachineCounts) {
  EXPECT_EQ(available(), 8000u * 1024);
  put("/proc/meminfo", "");
  EXPECT_EQ(available(), 0u);
}

TEST_F(MemoryTest, Version2CountsEveryGroupOnTheWayUp) {
  put("/proc/self/cgroup", "0::/slice/unit\n");
  put("/sys/fs/cgroup/slice/unit/memory.max", "max\n");
  EXPECT_EQ(available(), 8000u * 1024);
  put("/sys/fs/cgroup/slice/memory.max", "100000\n");
  put("/sys/fs/cgroup/slice/memory.current", "70000\n");
  EXPECT_EQ(available(), 30000u);
  put("/sys/fs/cgroup/slice/memory.stat", "anon 1\ninactive_file 8000\nactive_file 500\n");
  EXPECT_EQ(available(), 38500u) << "file cache can be given back";
  put("/sys/fs/cgroup/memory.max", "20000\n");  // a container sees its own group as the root
  EXPECT_EQ(available(), 20000u);
}

TEST_F(MemoryTest, Version1HasNamesOfItsOwn) {
  put("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
  EXPECT_EQ(available(), 8000u * 1024);
  put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "5000\n");
  put("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "4000\n");
  put("/sys/fs/cgroup/memory/job/memory.stat", "inactive_file 7\ntotal_inactive_file 100\n");
  EXPECT_EQ(available(), 1100u);
}

TEST_F(MemoryTest, AFullGroupIsNotAnUnknownOne) {
  put("/proc/self/cgroup", "0::/\n");
  put("/sys/fs/cgroup/memory.max", "1000\n");
  put("/sys/fs/cgroup/memory.current", "1001\n");
  EXPECT_EQ(available(), 1u);
}

}  // namespace
}  // namespace geist
