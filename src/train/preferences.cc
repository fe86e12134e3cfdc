#include "train/preferences.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "train/json_records.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kAnswersMax = 1000;

const Json* find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

// "\n\nHuman: ...\n\nAssistant: ..." as messages; none when the text is not of that form.
Json dialogue(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, const char*>, 2> kTurns = {
      {{"\n\nHuman:", "user"}, {"\n\nAssistant:", "assistant"}}};
  Json messages = Json::array();
  const auto turn_at = [&](size_t at) -> const std::pair<std::string_view, const char*>* {
    for (const auto& turn : kTurns)
      if (text.substr(at).starts_with(turn.first)) return &turn;
    return nullptr;
  };
  for (const auto* turn = turn_at(0); turn != nullptr;) {
    text.remove_prefix(turn->first.size());
    size_t end = text.find("\n\n");
    while (end != std::string_view::npos && turn_at(end) == nullptr)
      end = text.find("\n\n", end + 1);
    std::string_view said = text.substr(0, end);
    said = said.substr(std::min(said.size(), said.find_first_not_of(" \t\r\n")));
    said = said.substr(0, said.find_last_not_of(" \t\r\n") + 1);
    messages.push_back({{"role", turn->second}, {"content", said}});
    if (end == std::string_view::npos) break;
    text.remove_prefix(end);
    turn = turn_at(0);
  }
  return messages;
}

bool says_nothing(const Json& dialogue_turns) {
  return std::any_of(dialogue_turns.begin(), dialogue_turns.end(), [](const Json& turn) {
    return turn["content"].get_ref<const std::string&>().empty();
  });
}

// Both answers are dialogues, and one has an empty turn.
bool left_out(const Json& record) {
  for (const char* key : {"chosen", "rejected"}) {
    const Json* answer = find(record, key);
    if (answer != nullptr && answer->is_string() &&
        says_nothing(dialogue(answer->get_ref<const std::string&>())))
      return true;
  }
  return false;
}

// What a record says besides its answers: from an answer to a whole conversation.
class Prompt {
 public:
  static Result<Prompt> find_in(const Json& record) {
    Prompt prompt(record);
    if (const Json* input = find(record, "input"); find(record, "preferred_output") != nullptr) {
      if (input == nullptr || find(*input, "messages") == nullptr)
        return errorf("'input' holds no 'messages'");
      return prompt.with(kMessages, *find(*input, "messages"), find(*input, "tools"));
    }
    if (const Json* turns = find(record, "conversations")) return prompt.with(kShareGpt, *turns);
    if (find(record, "instruction") != nullptr) return prompt.with(kAlpaca, {});
    const Json* given = find(record, "messages");
    if (given == nullptr) given = find(record, "prompt");
    if (given == nullptr) return prompt.with(kNone, Json::array());
    if (!given->is_string()) return prompt.with(kMessages, *given);
    Json turns = dialogue(given->get_ref<const std::string&>());
    if (turns.empty()) turns.push_back({{"role", "user"}, {"content", *given}});
    return prompt.with(kMessages, std::move(turns));
  }

  Result<Conversation> with_answer(const Json& answer) const {
    if (kind_ == kAlpaca) return alpaca(answer);
    if (kind_ == kNone && answer.is_string()) {
      Json turns = dialogue(answer.get_ref<const std::string&>());
      if (turns.empty())
        return errorf("there is no 'prompt', and the answer is no conversation of its own");
      return conversation(std::move(turns));
    }
    if (kind_ == kNone && !answer.is_array())
      return errorf("there is no 'prompt', and the answer is not a list of messages");
    Json turns = turns_;
    if (answer.is_array()) {
      for (const Json& message : answer) turns.push_back(message);
    } else if (answer.is_object()) {
      turns.push_back(answer);
    } else if (answer.is_string()) {
      turns.push_back({{"role", "assistant"}, {"content", answer}});
    } else {
      return errorf("an answer is neither a text nor a message nor a list of messages");
    }
    return conversation(std::move(turns));
  }

 private:
  enum Kind { kNone, kMessages, kShareGpt, kAlpaca };
  explicit Prompt(const Json& record) : record_(&record), tools_(find(record, "tools")) {}

  Result<Prompt> with(Kind kind, Json turns, const Json* tools = nullptr) {
    if (kind != kAlpaca && !turns.is_array()) return errorf("the prompt is not a list of messages");
    kind_ = kind;
    turns_ = std::move(turns);
    if (tools != nullptr) tools_ = tools;
    return *this;
  }
  Result<Conversation> conversation(Json turns) const {
    const bool sharegpt = kind_ == kShareGpt;
    Json record = {{sharegpt ? "conversations" : "messages", std::move(turns)}};
    if (tools_ != nullptr) record["tools"] = *tools_;
    if (const Json* system = find(*record_, "system"); sharegpt && system != nullptr)
      record["system"] = *system;
    return to_conversation(record,
                           sharegpt ? ConversationFormat::kShareGpt : ConversationFormat::kOpenAi);
  }
  Result<Conversation> alpaca(const Json& answer) const {
    Json record = *record_;
    const Json* text = answer.is_object() ? find(answer, "value") : &answer;
    if (text == nullptr && answer.is_object()) text = find(answer, "content");
    if (text == nullptr || !text->is_string()) return errorf("an answer is not a text");
    record["output"] = *text;
    return to_conversation(record, ConversationFormat::kAlpaca);
  }

  const Json* record_;
  const Json* tools_;
  Kind kind_ = kNone;
  Json turns_;
};

Status add(const Prompt& prompt, const Json& answer, const std::string& key, Preference* out) {
  auto conversation = prompt.with_answer(answer);
  Status status = conversation.ok() ? keep_last_turn(&*conversation) : conversation.error();
  if (!status.ok()) return errorf("'%s': %s", key.c_str(), status.error().message.c_str());
  out->answers.push_back(std::move(*conversation));
  return {};
}

}  // namespace

Status keep_last_turn(Conversation* conversation) {
  const Json messages = Json::parse(conversation->messages, nullptr, false);
  if (messages.back()["role"] != "assistant")
    return errorf("an answer does not end with the assistant's turn");
  conversation->unlearned.clear();
  for (size_t i = 0; i + 1 < messages.size(); ++i)
    if (messages[i]["role"] == "assistant") conversation->unlearned.push_back(i);
  return {};
}

std::string Preference::hash() const {
  Sha256 hash;
  for (const Conversation& c : answers) {
    const std::string one = c.hash();
    hash.update(std::as_bytes(std::span(one)));
  }
  return to_hex(hash.finish());
}

Result<Preference> to_preference(const Json& record) {
  if (!record.is_object()) return errorf("this record is not a JSON object");
  if (left_out(record)) return Preference{};
  GEIST_ASSIGN(const Prompt prompt, Prompt::find_in(record));
  Preference out;
  if (const Json* ranked = find(record, "ranked")) {
    if (!ranked->is_array() || ranked->size() < 2 || ranked->size() > kAnswersMax)
      return errorf("'ranked' is not a list of two answers or more");
    for (const Json& answer : *ranked) GEIST_TRY(add(prompt, answer, "ranked", &out));
    return out;
  }
  if (const Json* completion = find(record, "completion")) {
    const Json* label = find(record, "label");
    if (label == nullptr || !label->is_boolean())
      return errorf("a 'completion' needs a 'label', true or false");
    GEIST_TRY(add(prompt, *completion, "completion", &out));
    out.label = label->get<bool>();
    return out;
  }
  constexpr std::array<std::pair<const char*, const char*>, 2> kPairs = {
      {{"chosen", "rejected"}, {"preferred_output", "non_preferred_output"}}};
  for (const auto& [better, worse] : kPairs) {
    if (find(record, better) == nullptr) continue;
    if (find(record, worse) == nullptr) return errorf("'%s' is missing", worse);
    GEIST_TRY(add(prompt, record[better], better, &out));
    GEIST_TRY(add(prompt, record[worse], worse, &out));
    return out;
  }
  return errorf(
      "this record compares nothing: it needs 'chosen' and 'rejected', 'ranked', or 'completion' "
      "and 'label'");
}

namespace {

RecordSink converting(const PreferenceSink& sink, int64_t* dropped) {
  return [&sink, dropped](const Json& record, const std::string& where) -> Status {
    const auto preference = to_preference(record);
    if (!preference.ok())
      return errorf("%s: %s", where.c_str(), preference.error().message.c_str());
    if (!preference->answers.empty()) return sink(*preference, where);
    ++*dropped;
    return {};
  };
}

}  // namespace

Result<int64_t> read_preferences_from(std::string_view bytes, const std::string& name,
                                      const PreferenceSink& sink) {
  int64_t dropped = 0;
  GEIST_TRY(read_json_records_from(bytes, name, converting(sink, &dropped)));
  return dropped;
}

Result<int64_t> read_preferences(const std::string& path, const PreferenceSink& sink) {
  int64_t dropped = 0;
  GEIST_TRY(read_json_records(path, converting(sink, &dropped)));
  return dropped;
}

}  // namespace geist::train
