#include "model/workspace.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace geist::model {
namespace {

// The first pass, which knows nothing of sizes yet, may not take memory anew for each layer.
TEST(Workspace, WhatWasReleasedIsTakenAgain) {
  Workspace ws;
  ws.begin();
  float* kept = ws.take(100);
  std::fill_n(kept, 100, 1.0f);
  const int64_t mark = ws.mark();
  float* wide = ws.take(5000);
  float* other = ws.take(5000);
  ws.release(mark);
  for (int layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(ws.take(2000), wide);
    EXPECT_EQ(ws.take(1000), other);
    std::fill_n(wide, 2000, 2.0f);
    ws.release(mark);
    EXPECT_EQ(ws.take(5000), wide);
    const int64_t inner = ws.mark();
    EXPECT_EQ(ws.take(5000), other);
    ws.release(inner);
    EXPECT_EQ(ws.take(1), other);
    ws.release(mark);
  }
  EXPECT_EQ(kept[99], 1.0f);
}

// What is taken while something lies before it is never that.
TEST(Workspace, RowsInUseStayApart) {
  Workspace ws;
  for (int pass = 0; pass < 3; ++pass) {
    ws.begin();
    float* a = ws.take(1000);
    const int64_t mark = ws.mark();
    ws.take(3000);
    ws.release(mark);
    float* b = ws.take(4000);
    float* c = ws.take(16);
    std::fill_n(a, 1000, 1.0f);
    std::fill_n(b, 4000, 2.0f);
    std::fill_n(c, 16, 3.0f);
    EXPECT_EQ(std::count(a, a + 1000, 1.0f), 1000);
    EXPECT_EQ(std::count(b, b + 4000, 2.0f), 4000);
  }
}

}  // namespace
}  // namespace geist::model
