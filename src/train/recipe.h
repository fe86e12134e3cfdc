// Recipes: what a training run is told, as TOML 1.0 (parsed by toml++).
//
// A stage reads its values over defaults that stand in its own options struct; every value that was
// asked for is remembered as it was finally used. From that follow two things: a key that nobody
// asked for is an error with the nearest known key as a suggestion, and the canonical text of a
// recipe is the sorted list of effective values, so that spelling out a default, reordering or
// commenting does not change its hash, and changing a default does.
//
//   GEIST_ASSIGN(const Recipe recipe, Recipe::open("recipe.toml"));
//   GEIST_ASSIGN(RecipeTable optimizer, recipe.root().table("optimizer"));
//   GEIST_TRY(optimizer.read("learning_rate", &options.learning_rate, {.min = 0, .max = 1}));
//   GEIST_TRY(recipe.check_all_read());
//
// Not thread-safe while it is being read.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::train {

struct RecipeNode;  // the tree of values; defined in recipe.cc

struct IntRange {
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};
struct FloatRange {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
};

// A table of a recipe. Cheap to copy; valid while its Recipe lives. Every read() leaves *value, the
// default, as it is when the key is absent; errors name the file, the line and the key.
class RecipeTable {
 public:
  bool has(std::string_view key) const;
  Status read(std::string_view key, int64_t* value, IntRange range = {}) const;
  Status read(std::string_view key, int32_t* value, IntRange range = {}) const;
  Status read(std::string_view key, uint64_t* value) const;
  // An integer is taken where a fraction is meant.
  Status read(std::string_view key, double* value, FloatRange range = {}) const;
  Status read(std::string_view key, float* value, FloatRange range = {}) const;
  Status read(std::string_view key, bool* value) const;
  Status read(std::string_view key, std::string* value) const;
  Status read(std::string_view key, std::vector<std::string>* value) const;
  Status read(std::string_view key, std::vector<int64_t>* value) const;
  Status read(std::string_view key, std::vector<double>* value) const;
  // One of the given words; the error lists them.
  Status read_choice(std::string_view key, std::string* value,
                     std::initializer_list<std::string_view> choices) const;
  // An error when the key is absent: "recipe.toml: [data] needs 'files'".
  Status require(std::string_view key) const;

  // [key]: an empty table when absent.
  Result<RecipeTable> table(std::string_view key) const;
  // [[key]]: none when absent.
  Result<std::vector<RecipeTable>> tables(std::string_view key) const;

  // "recipe.toml:12: data.vocab: ..." for checks that a stage makes itself.
  Error error(std::string_view key, const std::string& what) const;

 private:
  friend class Recipe;
  explicit RecipeTable(RecipeNode* node) : node_(node) {}
  template <typename T, typename Convert>
  Status read_as(std::string_view key, T* value, Convert convert) const;
  RecipeNode* node_;
};

class Recipe {
 public:
  static Result<Recipe> open(const std::string& path);
  // `name` stands in errors for the path.
  static Result<Recipe> parse(std::string_view toml, const std::string& name);
  Recipe(Recipe&&) noexcept;
  Recipe& operator=(Recipe&&) noexcept;
  ~Recipe();

  RecipeTable root() const;
  // After everything was read: an error for the first key, in the order of the file, that nobody
  // asked for.
  Status check_all_read() const;
  // "path = value" lines in byte order, one for each value read, ending in newlines. Integers in
  // decimal, fractions as the shortest decimal that reads back to the same bits, strings as JSON.
  std::string canonical() const;
  // SHA-256 of canonical(), in hexadecimal.
  std::string hash() const;

 private:
  explicit Recipe(std::unique_ptr<RecipeNode> root);
  std::unique_ptr<RecipeNode> root_;
};

}  // namespace geist::train
