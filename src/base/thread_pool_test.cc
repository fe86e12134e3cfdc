#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

namespace geist {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, RangesCoverEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (const int64_t count : {0, 1, 15, 16, 17, 1000}) {
    std::vector<int> hits(static_cast<size_t>(count), 0);
    pool.for_ranges(count, 16, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(begin % 16, 0);
      for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
    });
    for (const int hit : hits) EXPECT_EQ(hit, 1);
  }
}

TEST_P(ThreadPoolTest, ManyRegionsInARow) {
  ThreadPool pool(GetParam());
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 2000; ++round) pool.for_each(5, [&](int64_t i) { sum += i; });
  EXPECT_EQ(sum.load(), 2000 * 10);
}

// The caller is at work, or sleeps itself; all others of this process.
int threads_asleep() {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string stat;
    std::getline(std::ifstream(task.path() / "stat"), stat);
    count += stat.find(") S ") != std::string::npos;
  }
  return count;
}

TEST_P(ThreadPoolTest, WorkersSleepBetweenRegionsAndWakeUp) {
  const int others = threads_asleep();  // a sanitizer's own
  ThreadPool pool(GetParam());
  for (int round = 0; round < 3; ++round) {
    std::atomic<int> ran{0};
    pool.run([&](int) { ++ran; });
    EXPECT_EQ(ran.load(), GetParam());
    for (int i = 0; i < 10000 && threads_asleep() != others + GetParam() - 1; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(threads_asleep(), others + GetParam() - 1);
  }
}

std::atomic<int> threads_held{0};
std::atomic<bool> hold{false};

void hold_thread(int) {
  ++threads_held;
  while (hold.load()) ::usleep(100);
  --threads_held;
}

// Workers that the system keeps from running (here: held in a signal handler) hold up no region.
TEST_P(ThreadPoolTest, RegionDoesNotWaitForAWorkerThatHasNotBegun) {
  std::vector<int> before, workers;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
    before.push_back(std::stoi(task.path().filename().string()));
  ThreadPool pool(GetParam());
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
    workers.push_back(std::stoi(task.path().filename().string()));
  std::erase_if(workers, [&](int id) { return std::ranges::find(before, id) != before.end(); });
  ASSERT_EQ(static_cast<int>(workers.size()), GetParam() - 1);

  struct sigaction action = {}, old = {};
  action.sa_handler = hold_thread;
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &old), 0);
  hold = true;
  for (const int worker : workers) ASSERT_EQ(::syscall(SYS_tgkill, ::getpid(), worker, SIGUSR1), 0);
  while (threads_held.load() != GetParam() - 1) std::this_thread::yield();

  const auto count_parts = [&] {
    std::vector<std::atomic<int>> hits(static_cast<size_t>(GetParam()));
    pool.run([&](int part) { ++hits[static_cast<size_t>(part)]; });
    for (const std::atomic<int>& hit : hits) EXPECT_EQ(hit.load(), 1);
  };
  for (int round = 0; round < 3; ++round) count_parts();
  hold = false;
  while (threads_held.load() != 0) std::this_thread::yield();
  for (int round = 0; round < 100; ++round) count_parts();  // those that come late do no part again
  ASSERT_EQ(::sigaction(SIGUSR1, &old, nullptr), 0);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 3, 7));

}  // namespace
}  // namespace geist
