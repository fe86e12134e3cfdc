#include "train/run_log.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace geist::train {
namespace {

// The lines of steps up to `step`. A line that was cut off by a crash is dropped.
std::string kept_lines(const std::string& text, int64_t step) {
  std::string kept;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const std::string line = text.substr(at, end + 1 - at);
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("step") && json["step"].is_number_integer() &&
        json["step"].get<int64_t>() <= step)
      kept += line;
    at = end + 1;
  }
  return kept;
}

}  // namespace

Result<RunLog> RunLog::open(const std::string& path, int64_t step) {
  std::string kept;
  if (step > 0 && std::filesystem::exists(path)) {
    GEIST_ASSIGN(const std::string text, read_file(path));
    kept = kept_lines(text, step);
  }
  GEIST_TRY(write_file(path, kept));
  std::FILE* file = std::fopen(path.c_str(), "ab");
  if (file == nullptr)
    return errorf("%s: cannot be written: %s", path.c_str(), std::strerror(errno));
  return RunLog(path, file);
}

Status RunLog::write(const TrainEvent& event) {
  nlohmann::ordered_json json = {{"step", event.step}};
  if (event.kind == TrainEvent::Kind::kStep) {
    json["loss"] = event.loss;
    json["gradient_norm"] = event.gradient_norm;
    json["learning_rate"] = event.learning_rate;
    json["tokens"] = event.tokens;
    json["tokens_per_s"] = event.tokens_per_s;
  } else if (event.kind == TrainEvent::Kind::kValidation) {
    if (!std::isnan(event.loss)) json["validation_loss"] = event.loss;
    if (!std::isnan(event.bits_per_byte)) json["bits_per_byte"] = event.bits_per_byte;
  } else if (event.kind == TrainEvent::Kind::kStopped) {
    json["stopped"] = event.text;
  } else if (event.kind != TrainEvent::Kind::kFacts) {
    return {};
  }
  const bool facts = event.kind == TrainEvent::Kind::kFacts;
  for (const auto& [name, value] : event.metrics)
    facts ? json[name] = static_cast<int64_t>(value) : json[name] = value;
  const std::string line = json.dump() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
      std::fflush(file_.get()) != 0)
    return errorf("%s: cannot be written: %s; the run stops before more is lost", path_.c_str(),
                  std::strerror(errno));
  return {};
}

}  // namespace geist::train
