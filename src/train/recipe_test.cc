#include "train/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace geist::train {
namespace {

using testing::HasSubstr;

struct Options {
  int64_t steps = 100;
  double learning_rate = 3e-4;
  float decay = 0.1f;
  std::string schedule = "cosine";
  std::vector<std::string> files = {"a.txt"};
  bool shuffle = true;
};

Status read_options(const Recipe& recipe, Options* o) {
  const RecipeTable root = recipe.root();
  GEIST_TRY(root.read("steps", &o->steps, {.min = 1, .max = 1000}));
  GEIST_TRY(root.read_choice("schedule", &o->schedule, {"cosine", "wsd"}));
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(data.read("files", &o->files));
  GEIST_TRY(data.read("shuffle", &o->shuffle));
  GEIST_ASSIGN(const RecipeTable optimizer, root.table("optimizer"));
  GEIST_TRY(optimizer.read("learning_rate", &o->learning_rate, {.min = 0, .max = 1}));
  GEIST_TRY(optimizer.read("decay", &o->decay));
  return recipe.check_all_read();
}

std::string error_of(std::string_view toml) {
  auto recipe = Recipe::parse(toml, "r.toml");
  if (!recipe.ok()) return recipe.error().message;
  Options options;
  const Status status = read_options(*recipe, &options);
  return status.ok() ? "" : status.error().message;
}

std::string hash_of(std::string_view toml) {
  auto recipe = Recipe::parse(toml, "r.toml");
  EXPECT_TRUE(recipe.ok());
  Options options;
  EXPECT_TRUE(read_options(*recipe, &options).ok());
  return recipe->hash();
}

TEST(Recipe, ReadsValuesOverDefaults) {
  auto recipe = Recipe::parse(
      "steps = 7\n[data]\nfiles = [\"x\", \"y\"]\n[optimizer]\nlearning_rate = 1\n", "r.toml");
  ASSERT_TRUE(recipe.ok());
  Options options;
  ASSERT_TRUE(read_options(*recipe, &options).ok());
  EXPECT_EQ(options.steps, 7);
  EXPECT_EQ(options.learning_rate, 1.0);
  EXPECT_EQ(options.schedule, "cosine");
  EXPECT_EQ(options.files, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(recipe->canonical(),
            "data.files = [\"x\", \"y\"]\ndata.shuffle = true\noptimizer.decay = 0.1\n"
            "optimizer.learning_rate = 1\nschedule = \"cosine\"\nsteps = 7\n");
}

TEST(Recipe, HashIsOfWhatARecipeMeans) {
  const std::string hash = hash_of("steps = 100\n");
  EXPECT_EQ(hash, hash_of(""));
  EXPECT_EQ(hash, hash_of("# a remark\n[optimizer]\ndecay = 0.1\nlearning_rate = 0.0003\n"));
  EXPECT_NE(hash, hash_of("steps = 101\n"));
}

TEST(Recipe, ErrorsSayWhereAndWhat) {
  EXPECT_EQ(error_of("steps = 5\n[optimizer]\nlearning_rat = 1\n"),
            "r.toml:3: optimizer.learning_rat: there is no such key; did you mean "
            "'learning_rate'?");
  EXPECT_THAT(error_of("[data]\nzzz = 1\n"), HasSubstr("known here: files, shuffle"));
  EXPECT_THAT(error_of("steps = \"many\"\n"),
              HasSubstr("r.toml:1: steps: this is a string and should be an integer"));
  EXPECT_THAT(error_of("steps = 0\n"), HasSubstr("at least 1 and at most 1000"));
  EXPECT_THAT(error_of("schedule = \"linear\"\n"), HasSubstr("is not one of: cosine, wsd"));
  EXPECT_THAT(error_of("data = 3\n"), HasSubstr("should be a table"));
  EXPECT_THAT(error_of("[data]\nfiles = [1]\n"), HasSubstr("data.files[0]"));
  EXPECT_THAT(error_of("steps = \n"), HasSubstr("r.toml:1: "));
  EXPECT_THAT(error_of("day = 2026-01-01\n"), HasSubstr("dates"));
  EXPECT_THAT(error_of("[optimizer]\nlearning_rate = nan\n"), HasSubstr("out of range"));
}

TEST(Recipe, RequiredKeysAndListsOfTables) {
  auto recipe =
      Recipe::parse("[[source]]\npath = \"a\"\n[[source]]\npath = \"b\"\nx = 1\n", "r.toml");
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(recipe->root().require("vocab").error().message, "r.toml: it needs the key 'vocab'");
  auto sources = recipe->root().tables("source");
  ASSERT_TRUE(sources.ok());
  ASSERT_EQ(sources->size(), 2u);
  std::string path;
  for (const RecipeTable& source : *sources) ASSERT_TRUE(source.read("path", &path).ok());
  EXPECT_EQ(path, "b");
  EXPECT_THAT(recipe->check_all_read().error().message, HasSubstr("source[1].x"));
  EXPECT_EQ(recipe->canonical(), "source[0].path = \"a\"\nsource[1].path = \"b\"\n");
}

}  // namespace
}  // namespace geist::train
