#include "train/pipeline.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "base/hash.h"
#include "base/json_guard.h"
#include "train/recipe.h"
#include "train/trained_model.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kJsonDepthMax = 32;
constexpr size_t kJsonBytesMax = size_t{64} << 20;

std::string in(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

// Within the work folder, never a way out of it.
bool stays_inside(const std::string& path) {
  const fs::path p(path);
  return !path.empty() && !p.is_absolute() &&
         std::none_of(p.begin(), p.end(), [](const fs::path& part) { return part == ".."; });
}

Result<PipelineStage> read_stage(const RecipeTable& t) {
  PipelineStage stage;
  for (const char* key : {"name", "run", "result"}) GEIST_TRY(t.require(key));
  GEIST_TRY(t.read("name", &stage.name));
  GEIST_TRY(t.read("run", &stage.run));
  GEIST_TRY(t.read("result", &stage.result));
  GEIST_TRY(t.read("output", &stage.output));
  if (stage.name.empty() || stage.run.empty())
    return t.error("name", "a stage needs a name and words to run");
  if (!stays_inside(stage.result)) return t.error("result", "must lie in the work folder");
  if (!stage.output.empty() && !stays_inside(stage.output))
    return t.error("output", "must lie in the work folder");
  return stage;
}

Result<Requirement> read_requirement(const RecipeTable& t) {
  Requirement r;
  for (const char* key : {"file", "value"}) GEIST_TRY(t.require(key));
  GEIST_TRY(t.read("file", &r.file));
  GEIST_TRY(t.read("value", &r.value));
  GEIST_TRY(t.read("over", &r.over));
  r.has_min = t.has("min");
  r.has_max = t.has("max");
  GEIST_TRY(t.read("min", &r.min));
  GEIST_TRY(t.read("max", &r.max));
  if (!r.has_min && !r.has_max) return t.error("min", "give min, max or both");
  for (const std::string* file : {&r.file, &r.over})
    if (!file->empty() && !stays_inside(*file))
      return t.error("file", "must lie in the work folder");
  return r;
}

Result<Json> read_json(const std::string& path) {
  GEIST_ASSIGN(const std::string text, read_file(path, kJsonBytesMax));
  if (json_depth_within(text, kJsonDepthMax)) {
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_discarded()) return json;
  }
  return errorf("%s: this is not JSON", path.c_str());
}

Result<StageHashes> read_hash_file(const std::string& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return StageHashes{};
  GEIST_ASSIGN(const Json json, read_json(path));
  StageHashes hashes;
  if (!json.is_object()) return errorf("%s: must be an object of hashes", path.c_str());
  for (const auto& [name, hash] : json.items()) {
    if (!hash.is_string()) return errorf("%s: '%s' is no hash", path.c_str(), name.c_str());
    hashes[name] = hash.get<std::string>();
  }
  return hashes;
}

Status write_hash_file(const std::string& path, const StageHashes& hashes) {
  Json json = Json::object();
  for (const auto& [name, hash] : hashes) json[name] = hash;
  return write_file(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

// The files of a folder by their paths within it, in order.
Result<std::vector<std::string>> files_of(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code failed;
  for (const auto& entry : fs::recursive_directory_iterator(folder, failed))
    if (entry.is_regular_file()) files.push_back(fs::relative(entry.path(), folder).string());
  if (failed) return errorf("%s: %s", folder.c_str(), failed.message().c_str());
  std::sort(files.begin(), files.end());
  return files;
}

Result<std::string> file_hash(const std::string& path) {
  std::error_code ignored;
  if (fs::file_size(path, ignored) == 0) return to_hex(sha256({}));
  GEIST_ASSIGN(const MappedFile file, MappedFile::open(path));
  return to_hex(sha256(file.bytes()));
}

// The recipes of a folder, by name.
Result<std::map<std::string, std::string>> recipes_of(const std::string& folder) {
  std::map<std::string, std::string> recipes;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    if (entry.path().extension() != ".toml" && entry.path().extension() != ".jinja") continue;
    GEIST_ASSIGN(recipes[entry.path().filename().string()], read_file(entry.path().string()));
  }
  if (failed) return errorf("%s: %s", folder.c_str(), failed.message().c_str());
  return recipes;
}

Result<double> number_at(const std::string& work, const std::string& file,
                         const std::string& value) {
  GEIST_ASSIGN(const Json json, read_json(in(work, file)));
  const bool is_pointer = value.empty() || value[0] == '/';
  if (is_pointer && value.find('~') == std::string::npos) {
    const Json::json_pointer pointer(value);
    if (json.contains(pointer) && json[pointer].is_number()) return json[pointer].get<double>();
  }
  return errorf("%s: there is no number at '%s'", file.c_str(), value.c_str());
}

}  // namespace

Result<Pipeline> read_pipeline(const std::string& folder) {
  GEIST_ASSIGN(const Recipe recipe, Recipe::open(in(folder, "pipeline.toml")));
  Pipeline pipeline;
  std::set<std::string> names;
  GEIST_ASSIGN(const std::vector<RecipeTable> stages, recipe.root().tables("stage"));
  for (const RecipeTable& t : stages) {
    GEIST_ASSIGN(PipelineStage stage, read_stage(t));
    if (!names.insert(stage.name).second)
      return t.error("name", "two stages are called '" + stage.name + "'");
    pipeline.stages.push_back(std::move(stage));
  }
  GEIST_ASSIGN(const std::vector<RecipeTable> requirements, recipe.root().tables("require"));
  for (const RecipeTable& t : requirements) {
    GEIST_ASSIGN(Requirement requirement, read_requirement(t));
    pipeline.requirements.push_back(std::move(requirement));
  }
  GEIST_TRY(recipe.check_all_read());
  if (pipeline.stages.empty()) return errorf("%s: the pipeline has no stage", folder.c_str());
  return pipeline;
}

Result<StageHashes> read_hashes(const std::string& folder) {
  return read_hash_file(in(folder, "hashes.json"));
}

Status write_hashes(const std::string& folder, const StageHashes& hashes) {
  return write_hash_file(in(folder, "hashes.json"), hashes);
}

Result<StageHashes> read_done(const std::string& work) {
  return read_hash_file(in(work, "done.json"));
}

Status write_done(const std::string& work, const StageHashes& done) {
  return write_hash_file(in(work, "done.json"), done);
}

Result<std::string> result_hash(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    GEIST_ASSIGN(const std::vector<std::string> files, files_of(path));
    std::string list;
    for (const std::string& file : files) {
      GEIST_ASSIGN(const std::string hash, file_hash(in(path, file)));
      list += hash + "  " + file + "\n";
    }
    return to_hex(sha256(std::as_bytes(std::span(list))));
  }
  if (path.ends_with(".gguf")) {
    GEIST_ASSIGN(const gguf::File file, gguf::File::open(path));
    if (!file.tensors().empty()) {
      GEIST_ASSIGN(const TrainedModel model, TrainedModel::make(file));
      return model.hash();
    }
  }
  return file_hash(path);
}

Status prepare_work(const std::string& folder, const std::string& work) {
  std::error_code failed;
  fs::create_directories(work, failed);
  if (failed) return errorf("%s: cannot be made: %s", work.c_str(), failed.message().c_str());
  GEIST_ASSIGN(const auto recipes, recipes_of(folder));
  GEIST_ASSIGN(const auto there, recipes_of(work));
  for (const auto& [name, text] : there) {
    const auto ours = recipes.find(name);
    if (ours == recipes.end() || ours->second != text)
      return errorf(
          "%s: made by another %s than %s has now; remove the folder, or give another --work",
          work.c_str(), name.c_str(), folder.c_str());
  }
  for (const auto& [name, text] : recipes)
    if (!there.contains(name)) GEIST_TRY(write_file(in(work, name), text));
  return {};
}

Result<Measured> measure(const Requirement& r, const std::string& work) {
  GEIST_ASSIGN(double value, number_at(work, r.file, r.value));
  if (!r.over.empty()) {
    GEIST_ASSIGN(const double other, number_at(work, r.over, r.value));
    value -= other;
  }
  const auto number = [](double x) {
    char text[40];
    std::snprintf(text, sizeof text, "%.4g", x);
    return std::string(text);
  };
  Measured m;
  m.text =
      r.file + " " + r.value + (r.over.empty() ? "" : " over " + r.over) + ": " + number(value);
  if (r.has_min) m.text += ", at least " + number(r.min);
  if (r.has_max) m.text += ", at most " + number(r.max);
  // A difference of shares that stand in decimal is off by a rounding.
  constexpr double kRounding = 1e-9;
  m.met = (!r.has_min || value >= r.min - kRounding) && (!r.has_max || value <= r.max + kRounding);
  return m;
}

}  // namespace geist::train
