#include "base/json_guard.h"

#include <gtest/gtest.h>

#include <string>

namespace geist {
namespace {

TEST(JsonGuard, CountsNesting) {
  EXPECT_TRUE(json_depth_within("", 0));
  EXPECT_TRUE(json_depth_within("1", 0));
  EXPECT_FALSE(json_depth_within("[]", 0));
  EXPECT_TRUE(json_depth_within(R"({"a":[1,{"b":2}],"c":[[]]})", 3));
  EXPECT_FALSE(json_depth_within(R"({"a":[1,{"b":2}],"c":[[]]})", 2));
  EXPECT_FALSE(json_depth_within(std::string(1 << 20, '['), 100));
}

TEST(JsonGuard, StringsDoNotNest) {
  EXPECT_TRUE(json_depth_within(R"({"[[[[": "{{{\"[[[\\"})", 1));
  EXPECT_FALSE(json_depth_within(R"(["\\", [1]])", 1))
      << "an escaped backslash ends before the quote";
}

}  // namespace
}  // namespace geist
