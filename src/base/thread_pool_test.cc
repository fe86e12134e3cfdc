#include "base/thread_pool.h"

#include <atomic>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

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

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 3, 7));

}  // namespace
}  // namespace geist
