// Reading and drawing of suites (evaluation.h).
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "train/evaluation.h"
#include "train/json_records.h"
#include "train/world.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool has(const Json& record, const char* key, Json::value_t type) {
  return record.contains(key) && record[key].type() == type;
}

Result<EvalItem> to_item(const Json& record, const std::string& where) {
  using Type = Json::value_t;
  EvalItem item;
  if (record.is_object() && has(record, "tools", Type::array)) item.tools = dump(record["tools"]);
  if (record.is_object() && has(record, "messages", Type::array) &&
      has(record, "check", Type::object)) {
    item.messages = dump(record["messages"]);
    item.check = dump(record["check"]);
    item.skill =
        has(record, "skill", Type::string) ? record["skill"].get<std::string>() : "problems";
    return item;
  }
  if (record.is_object() && has(record, "prompt", Type::array) &&
      has(record, "chosen", Type::string) && has(record, "rejected", Type::string)) {
    item.messages = dump(record["prompt"]);
    item.chosen = record["chosen"].get<std::string>();
    item.rejected = record["rejected"].get<std::string>();
    item.skill = "pairs";
    return item;
  }
  return errorf(
      "%s: neither a problem (messages, check) nor a pair of answers (prompt, chosen, rejected)",
      where.c_str());
}

Status add_file(const std::string& path, Suite* suite) {
  return read_json_records(path, [&](const Json& record, const std::string& where) -> Status {
    GEIST_ASSIGN(EvalItem item, to_item(record, where));
    suite->items.push_back(std::move(item));
    return {};
  });
}

Result<Suite> draw_suite(const std::string& name, int64_t count) {
  Suite suite{name, {}};
  const bool pairs = name == "world-pairs";
  const Split split = name == "world-new-wording" ? Split::kNewWording : Split::kHeldOut;
  for (const Skill skill : kSkills) {
    RandomStream random(0, name + " " + std::string(skill_name(skill)));
    for (int64_t i = 0; i < count; ++i) {
      const Problem problem = make_problem(skill, split, random);
      const std::string line = pairs ? pair_line(problem) : eval_line(problem);
      GEIST_ASSIGN(EvalItem item, to_item(Json::parse(line), name));
      suite.items.push_back(std::move(item));
    }
  }
  return suite;
}

}  // namespace

Result<Suite> read_suite(const std::string& name, int64_t count) {
  if (name == "world" || name == "world-new-wording" || name == "world-pairs")
    return draw_suite(name, count);
  Suite suite{name, {}};
  std::error_code ignored;
  if (!fs::is_directory(name, ignored)) {
    GEIST_TRY(add_file(name, &suite));
  } else {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(name, ignored))
      if (entry.path().extension() == ".jsonl") files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) GEIST_TRY(add_file(file, &suite));
  }
  if (suite.items.empty()) return errorf("%s: there are no problems in it", name.c_str());
  return suite;
}

}  // namespace geist::train
