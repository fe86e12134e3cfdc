#include <filesystem>

#include "train/data_stage.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;

Status read_data(const RecipeTable& t, DataOptions* o) {
  GEIST_TRY(t.require("files"));
  GEIST_TRY(t.read("files", &o->files));
  GEIST_TRY(t.read("field", &o->documents.field));
  GEIST_TRY(t.read("separator", &o->documents.separator));
  GEIST_TRY(t.read("split_bytes", &o->split_bytes));
  GEIST_TRY(t.read("validation_share", &o->validation_share));
  return t.read("shard_tokens", &o->shard_tokens);
}

Status read_filter(const RecipeTable& t, QualityOptions* q) {
  std::string preset = "none";
  GEIST_TRY(t.read_choice("preset", &preset, {"none", "web"}));
  if (preset == "web") *q = web_quality();
  GEIST_TRY(t.read("utf8", &q->utf8));
  GEIST_TRY(t.read("words_min", &q->words_min, {.min = 0}));
  GEIST_TRY(t.read("words_max", &q->words_max, {.min = 0}));
  GEIST_TRY(t.read("word_length_min", &q->word_length_min, {.min = 0}));
  GEIST_TRY(t.read("word_length_max", &q->word_length_max, {.min = 0}));
  const FloatRange share{.min = 0, .max = 1};
  GEIST_TRY(t.read("letter_words_min", &q->letter_words_min, share));
  GEIST_TRY(t.read("symbols_max", &q->symbols_max, {.min = 0}));
  GEIST_TRY(t.read("bullet_lines_max", &q->bullet_lines_max, share));
  GEIST_TRY(t.read("ellipsis_lines_max", &q->ellipsis_lines_max, share));
  GEIST_TRY(t.read("repeated_lines_max", &q->repeated_lines_max, share));
  return t.read("repeated_words_max", &q->repeated_words_max, share);
}

Status in_range(const char* name, double value, double min, double max) {
  if (value >= min && value <= max) return {};
  return errorf("%s is %g; it must be from %g to %g", name, value, min, max);
}

}  // namespace

Status validate(const DataOptions& o) {
  if (o.files.empty()) return errorf("there are no files to read");
  if (o.tokenizer.empty()) return errorf("there is no tokenizer");
  if (o.out.empty()) return errorf("there is no folder to write to");
  GEIST_TRY(in_range("validation_share", o.validation_share, 0, 0.9));
  GEIST_TRY(in_range("near_duplicates", o.near_duplicates, 0, 1));
  GEIST_TRY(in_range("split_bytes", static_cast<double>(o.split_bytes), 0, 1e12));
  return in_range("shard_tokens", static_cast<double>(o.shard_tokens), 1, 1 << 30);
}

Result<DataOptions> read_data_recipe(const Recipe& recipe, const std::string& recipe_path) {
  DataOptions o;
  const std::string folder = fs::path(recipe_path).parent_path().string();
  const RecipeTable root = recipe.root();
  for (const char* key : {"out", "tokenizer"}) GEIST_TRY(root.require(key));
  GEIST_TRY(root.read("out", &o.out));
  GEIST_TRY(root.read("tokenizer", &o.tokenizer));
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(read_data(data, &o));
  GEIST_ASSIGN(const RecipeTable filter, root.table("filter"));
  GEIST_TRY(read_filter(filter, &o.quality));
  GEIST_ASSIGN(const RecipeTable duplicates, root.table("duplicates"));
  GEIST_TRY(duplicates.read("exact", &o.exact_duplicates));
  GEIST_TRY(duplicates.read("near", &o.near_duplicates));
  GEIST_TRY(recipe.check_all_read());
  const auto beside = [&](std::string* path) { *path = (fs::path(folder) / *path).string(); };
  beside(&o.out);
  beside(&o.tokenizer);
  for (std::string& file : o.files) beside(&file);
  GEIST_TRY(validate(o));
  return o;
}

}  // namespace geist::train
