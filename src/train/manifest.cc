// manifest.json of a folder of shards (data_stage.h).
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json_guard.h"
#include "train/data_stage.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kJsonDepthMax = 8;
constexpr size_t kManifestBytesMax = size_t{64} << 20;

Json count_of(const DataCount& count, bool kept) {
  Json json = {{"documents", count.documents}, {"bytes", count.bytes}};
  if (kept) json["tokens"] = count.tokens;
  return json;
}

// A name within the folder, never a way out of it.
bool is_plain(const std::string& file) {
  return !file.empty() && file[0] != '.' && file.find('/') == std::string::npos;
}

}  // namespace

std::string manifest_text(const DataReport& report) {
  Json dropped = Json::object(), shards = Json::array();
  for (const auto& [reason, count] : report.dropped) {
    dropped[reason] = count_of(count, false);
    dropped[reason]["first"] = report.first_dropped.at(reason);
  }
  for (const ShardEntry& shard : report.shards)
    shards.push_back({{"file", shard.file},
                      {"validation", shard.validation},
                      {"documents", shard.documents},
                      {"tokens", shard.tokens},
                      {"sha256", shard.sha256}});
  const Json json = {{"read", count_of(report.read, false)},
                     {"train", count_of(report.train, true)},
                     {"validation", count_of(report.validation, true)},
                     {"dropped", dropped},
                     {"vocabulary_sha256", report.vocabulary_sha256},
                     {"shards", shards}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::vector<ShardEntry>> parse_manifest(std::string_view text, const std::string& name) {
  const Error error =
      errorf("%s: not a list of shards; make them again with geist train data", name.c_str());
  if (!json_depth_within(text, kJsonDepthMax)) return error;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("shards") || !json["shards"].is_array()) return error;
  std::vector<ShardEntry> shards;
  for (const Json& shard : json["shards"]) {
    if (!shard.is_object()) return error;
    for (const char* key : {"file", "sha256"})
      if (!shard.contains(key) || !shard[key].is_string()) return error;
    if (!shard.contains("validation") || !shard["validation"].is_boolean()) return error;
    ShardEntry entry{.file = shard["file"].get<std::string>(),
                     .sha256 = shard["sha256"].get<std::string>(),
                     .validation = shard["validation"].get<bool>()};
    if (!is_plain(entry.file)) return error;
    shards.push_back(std::move(entry));
  }
  return shards;
}

Result<std::vector<ShardEntry>> read_manifest(const std::string& folder) {
  const std::string path = (std::filesystem::path(folder) / "manifest.json").string();
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored))
    return errorf(
        "%s: there are no finished shards (no manifest.json); make them with geist train data",
        folder.c_str());
  GEIST_ASSIGN(const std::string text, read_file(path, kManifestBytesMax));
  return parse_manifest(text, path);
}

}  // namespace geist::train
