#include "train/run_history.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/file.h"

namespace geist::train {
namespace {

bool add_line(std::string_view line, RunHistory* history) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number()) return false;
  const double step = json["step"].get<double>();
  for (const auto& [key, value] : json.items()) {
    if (key == "step" || !value.is_number()) continue;
    const double v = value.get<double>();
    if (std::isfinite(v)) history->series[key].push_back({step, v});
  }
  return true;
}

}  // namespace

Result<RunHistory> read_run_history(const std::string& path) {
  std::error_code ignored;
  const std::string file = std::filesystem::is_directory(path, ignored)
                               ? (std::filesystem::path(path) / "log.jsonl").string()
                               : path;
  GEIST_ASSIGN(const std::string text, read_file(file));
  RunHistory history;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    if (!line.empty()) ++(add_line(line, &history) ? history.lines : history.skipped);
    at = end + 1;
  }
  if (history.lines == 0) return errorf("%s: no line of a training run is in it", file.c_str());
  for (auto& [key, points] : history.series)
    std::stable_sort(points.begin(), points.end(),
                     [](const auto& a, const auto& b) { return a.step < b.step; });
  return history;
}

}  // namespace geist::train
