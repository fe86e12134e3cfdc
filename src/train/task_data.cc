#include "train/task_data.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "engine/prompt.h"
#include "train/conversations.h"
#include "train/json_records.h"
#include "train/stage_recipe.h"
#include "train/world_grader.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

const Json* find(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

// The messages of a record in the form of conversations.h.
Result<Conversation> prompt_of(const Json& record) {
  Json conversation;
  if (const Json* messages = find(record, "messages")) {
    conversation["messages"] = *messages;
  } else if (const Json* prompt = find(record, "prompt"); prompt == nullptr) {
    return errorf("this task has neither 'prompt' nor 'messages'");
  } else if (prompt->is_string()) {
    conversation["messages"] = Json::array({{{"role", "user"}, {"content", *prompt}}});
  } else {
    conversation["messages"] = *prompt;
  }
  if (const Json* tools = find(record, "tools")) conversation["tools"] = *tools;
  return to_conversation(conversation, ConversationFormat::kOpenAi);
}

// What grade() is to be asked; empty: nothing.
Result<std::string> check_of(const Json& record) {
  std::string check;
  if (const Json* given = find(record, "check")) {
    check = given->is_string() ? given->get<std::string>() : given->dump();
  } else if (const Json* answer = find(record, "answer")) {
    if (!answer->is_string() && !answer->is_number())
      return errorf("'answer' is neither a text nor a number");
    const std::string value = answer->is_string() ? answer->get<std::string>() : answer->dump();
    check = Json{{"kind", "exact"}, {"value", value}}.dump(-1, ' ', false,
                                                           Json::error_handler_t::replace);
  }
  if (check.empty()) return check;
  const auto tried = grade(check, "");
  if (!tried.ok()) return tried.error();
  return check;
}

double share_of(const std::string& text) {
  const std::string hash = to_hex(sha256(std::as_bytes(std::span(text))));
  return static_cast<double>(std::stoull(hash.substr(0, 13), nullptr, 16)) * 0x1p-52;
}

}  // namespace

Status read_task_options(const RecipeTable& t, TaskOptions* o) {
  GEIST_TRY(t.read("skills", &o->skills));
  GEIST_TRY(t.read("files", &o->files));
  if (o->skills.empty() == o->files.empty())
    return t.error("files", "give either 'skills' of the small world or 'files' of tasks");
  for (const std::string& name : o->skills) {
    const auto known = [&](Skill skill) { return skill_name(skill) == name; };
    if (std::any_of(std::begin(kSkills), std::end(kSkills), known)) continue;
    std::string names;
    for (const Skill skill : kSkills)
      names += (names.empty() ? "" : ", ") + std::string(skill_name(skill));
    return t.error("skills", "'" + name + "' is no skill of the small world; there are " + names);
  }
  GEIST_TRY(t.read("validation_files", &o->validation_files));
  if (!o->validation_files.empty()) o->validation_share = 0;
  GEIST_TRY(t.read("validation_share", &o->validation_share, {.min = 0, .max = 0.9}));
  return t.read("unix_time_s", &o->unix_time_s, {.min = 0, .max = int64_t{1} << 40});
}

Result<TaskData> TaskData::load(const TaskOptions& options, const std::string& folder,
                                uint64_t seed, const engine::ChatFormat& format,
                                const text::Tokenizer& tokenizer, bool checked) {
  TaskData data(format, tokenizer);
  data.seed_ = seed;
  data.unix_time_s_ = options.unix_time_s;
  for (const std::string& name : options.skills)
    for (const Skill skill : kSkills)
      if (skill_name(skill) == name) data.skills_.push_back(skill);
  for (const std::string& file : options.files)
    GEIST_TRY(data.read(beside(folder, file), options.validation_share, checked));
  for (const std::string& file : options.validation_files)
    GEIST_TRY(data.read(beside(folder, file), 1, checked));
  if (data.skills_.empty() && data.train_.empty())
    return errorf("tasks.files hold no task to train on; look at tasks.validation_share");
  data.order_ = EpochOrder(static_cast<int64_t>(data.train_.size()), seed, "tasks");
  return data;
}

Status TaskData::read(const std::string& path, double validation_share, bool checked) {
  return read_json_records(path, [&](const Json& record, const std::string& where) -> Status {
    const auto fail = [&](const Error& e) {
      return errorf("%s: %s", where.c_str(), e.message.c_str());
    };
    if (!record.is_object()) return fail(errorf("this record is not a JSON object"));
    const auto prompt = prompt_of(record);
    if (!prompt.ok()) return fail(prompt.error());
    auto check = check_of(record);
    if (!check.ok()) return fail(check.error());
    if (checked && check->empty())
      return fail(errorf("this task has neither 'answer' nor 'check', and rewards need one"));
    const bool aside = share_of(prompt->messages) < validation_share;
    (aside ? held_out_ : train_)
        .push_back({prompt->messages, prompt->tools, std::move(*check), where});
    return {};
  });
}

Result<Task> TaskData::task_of(const Record& record) const {
  const auto text =
      format_->render({.messages = record.messages, .tools = record.tools}, unix_time_s_);
  if (!text.ok()) return errorf("%s: %s", record.where.c_str(), text.error().message.c_str());
  return Task{engine::encode_prompt(*tokenizer_, *text), record.messages, record.tools,
              record.check};
}

Result<Task> TaskData::made(Split split, int64_t index) const {
  const bool train = split == Split::kTrain;
  RandomStream random(seed_, (train ? "task " : "held-out task ") + std::to_string(index));
  const Skill skill = skills_[static_cast<size_t>(index) % skills_.size()];
  const Json record = Json::parse(eval_line(make_problem(skill, split, random)), nullptr, false);
  GEIST_ASSIGN(const Conversation prompt, prompt_of(record));
  GEIST_ASSIGN(std::string check, check_of(record));
  return task_of({prompt.messages, prompt.tools, std::move(check), "a made task"});
}

Result<Task> TaskData::train(int64_t index) {
  if (!skills_.empty()) return made(Split::kTrain, index);
  return task_of(train_[static_cast<size_t>(order_.at(index))]);
}

Result<Task> TaskData::held_out(int64_t index) const {
  if (!skills_.empty()) return made(Split::kHeldOut, index);
  return task_of(held_out_[static_cast<size_t>(index) % held_out_.size()]);
}

int64_t TaskData::held_out_count() const {
  return skills_.empty() ? static_cast<int64_t>(held_out_.size()) : int64_t{1} << 40;
}

}  // namespace geist::train
