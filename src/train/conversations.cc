#include "train/conversations.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/hash.h"
#include "base/json_guard.h"
#include "train/json_records.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kTextDepthMax = 64;  // of JSON inside a string

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* find(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

// JSON that stands in a string; null when it is none.
std::optional<Json> parse_text(const Json& text) {
  const auto& string = text.get_ref<const std::string&>();
  if (!json_depth_within(string, kTextDepthMax)) return {};
  Json json = Json::parse(string, nullptr, false);
  if (json.is_discarded()) return {};
  return json;
}

std::string text_at(const Json& object, const char* key) {
  const Json* value = find(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

// "": absent is fine, another type than text is not.
Status check_text(const Json& object, const char* key, bool needed) {
  const Json* value = find(object, key);
  if (value == nullptr && !needed) return {};
  if (value == nullptr) return errorf("'%s' is missing", key);
  if (!value->is_string()) return errorf("'%s' is not a text", key);
  return {};
}

// ---- content, calls and tools

Result<Json> text_of_content(const Json& content) {
  if (content.is_null()) return Json("");
  if (content.is_string()) return content;
  if (!content.is_array()) return errorf("'content' is neither a text nor a list of parts");
  std::string text;
  for (const Json& part : content) {
    const Json* value = find(part, "text");
    if (value == nullptr || !value->is_string())
      return errorf("'content' has a part that is not text; only text can be learned");
    text += value->get_ref<const std::string&>();
  }
  return Json(text);
}

// {"name", "arguments"}, with arguments an object or an object's JSON.
Result<Json> function_of(const Json& call) {
  const Json* inner = find(call, "function");
  const Json& function = inner != nullptr ? *inner : call;
  const Json* name = find(function, "name");
  if (name == nullptr || !name->is_string()) return errorf("a tool call without a 'name'");
  const Json* given = find(function, "arguments");
  Json arguments = given != nullptr ? *given : Json::object();
  if (arguments.is_string()) {
    auto parsed = parse_text(arguments);
    if (!parsed) return errorf("the 'arguments' of a tool call are not JSON");
    arguments = std::move(*parsed);
  }
  if (!arguments.is_object()) return errorf("the 'arguments' of a tool call are not an object");
  return Json{{"name", *name}, {"arguments", std::move(arguments)}};
}

Result<Json> tools_of(const Json& given) {
  Json tools = given;
  if (tools.is_string()) {
    if (tools.get_ref<const std::string&>().find_first_not_of(" \t\r\n") == std::string::npos)
      return Json::array();
    auto parsed = parse_text(tools);
    if (!parsed) return errorf("'tools' are not JSON");
    tools = std::move(*parsed);
  }
  if (!tools.is_array()) return errorf("'tools' are not a list");
  for (Json& tool : tools) {
    if (find(tool, "function") == nullptr && find(tool, "name") != nullptr)
      tool = {{"type", "function"}, {"function", Json(tool)}};
    const Json* function = find(tool, "function");
    const Json* name = function != nullptr ? find(*function, "name") : nullptr;
    if (name == nullptr || !name->is_string()) return errorf("a tool without a 'name'");
  }
  return tools;
}

// ---- messages of one form

class Builder {
 public:
  // A message of OpenAI's form.
  Status add(const Json& message) {
    if (!message.is_object()) return errorf("is not an object");
    GEIST_TRY(check_text(message, "role", true));
    std::string role = message["role"].get<std::string>();
    if (role == "developer") role = "system";
    if (role == "function") role = "tool";
    constexpr std::array kRoles = {"system", "user", "assistant", "tool"};
    if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end())
      return errorf("has the role '%.40s'; known are system, user, assistant and tool",
                    role.c_str());
    Json out = message;  // what else a template may want stays
    out["role"] = role;
    const Json* content = find(message, "content");
    GEIST_ASSIGN(out["content"], text_of_content(content != nullptr ? *content : Json()));
    if (role == "assistant") GEIST_TRY(add_calls(message, &out));
    if (role == "tool") GEIST_TRY(name_call(&out));
    GEIST_TRY(take_weight(&out));
    messages_.push_back(std::move(out));
    return {};
  }
  void add(const char* role, const Json& text) {
    messages_.push_back({{"role", role}, {"content", text}});
  }

  Result<Conversation> finish(const Json* tools) {
    if (messages_.empty()) return errorf("there are no messages");
    Conversation conversation;
    conversation.messages = dump(messages_);
    if (tools != nullptr) {
      GEIST_ASSIGN(const Json list, tools_of(*tools));
      if (!list.empty()) conversation.tools = dump(list);
    }
    conversation.unlearned = std::move(unlearned_);
    return conversation;
  }

 private:
  Status add_calls(const Json& message, Json* out) {
    const Json* calls = find(message, "tool_calls");
    const Json* old = find(message, "function_call");
    Json list = calls != nullptr ? *calls : old != nullptr ? Json::array({*old}) : Json::array();
    if (!list.is_array()) return errorf("has 'tool_calls' that are not a list");
    out->erase("function_call");
    out->erase("tool_calls");
    if (list.empty()) {
      if ((*out)["content"].get_ref<const std::string&>().empty())
        return errorf("is an assistant's and says nothing");
      return {};
    }
    Json made = Json::array();
    waiting_.clear();
    for (const Json& call : list) {
      GEIST_ASSIGN(Json function, function_of(call));
      const std::string given = text_at(call, "id");
      const std::string id = given.empty() ? next_id() : given;
      waiting_.push_back({id, function["name"].get<std::string>()});
      made.push_back({{"id", id}, {"type", "function"}, {"function", std::move(function)}});
    }
    (*out)["tool_calls"] = std::move(made);
    return {};
  }
  // Nine letters and digits: some templates ask for exactly that.
  std::string next_id() {
    std::string number = std::to_string(calls_++);
    return "call" + std::string(5 - std::min<size_t>(number.size(), 5), '0') + number;
  }
  // The calls of a turn are answered in their order where a result does not say which is its own.
  Status name_call(Json* out) {
    const std::string id = text_at(*out, "tool_call_id");
    auto call = id.empty() ? waiting_.begin()
                           : std::find_if(waiting_.begin(), waiting_.end(),
                                          [&](const auto& w) { return w.id == id; });
    if (call == waiting_.end()) {
      if (id.empty()) return errorf("is a tool's result without a call before it");
      return errorf("answers the tool call '%.40s', which nobody made before it", id.c_str());
    }
    (*out)["tool_call_id"] = call->id;
    (*out)["name"] = call->name;
    waiting_.erase(call);
    return {};
  }
  Status take_weight(Json* out) {
    const Json* weight = find(*out, "weight");
    if (weight == nullptr) return {};
    if (!weight->is_number() || (*weight != 0 && *weight != 1))
      return errorf("has a 'weight' other than 0 and 1");
    if (*weight == 0) unlearned_.push_back(messages_.size());
    out->erase("weight");
    return {};
  }

  struct Waiting {
    std::string id, name;
  };
  Json messages_ = Json::array();
  std::vector<Waiting> waiting_;
  std::vector<size_t> unlearned_;
  int calls_ = 0;
};

Status add_all(Builder& builder, const Json& messages, const char* key,
               Status (*add)(Builder&, const Json&)) {
  if (!messages.is_array()) return errorf("'%s' is not a list", key);
  for (size_t i = 0; i < messages.size(); ++i) {
    const Status status = add(builder, messages[i]);
    if (!status.ok()) return errorf("message %zu %s", i, status.error().message.c_str());
  }
  return {};
}

Status add_openai(Builder& builder, const Json& message) { return builder.add(message); }

// ---- ShareGPT

Status add_sharegpt(Builder& builder, const Json& message) {
  if (find(message, "role") != nullptr) return builder.add(message);
  GEIST_TRY(check_text(message, "from", true));
  GEIST_TRY(check_text(message, "value", true));
  const std::string from = message["from"].get<std::string>();
  const Json& value = message["value"];
  const auto is_one_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), from) != names.end();
  };
  if (is_one_of({"human", "user"})) return builder.add({{"role", "user"}, {"content", value}});
  if (is_one_of({"gpt", "assistant", "chatgpt", "model", "bot"}))
    return builder.add({{"role", "assistant"}, {"content", value}});
  if (from == "system") return builder.add({{"role", "system"}, {"content", value}});
  if (is_one_of({"observation", "tool", "function_response"}))
    return builder.add({{"role", "tool"}, {"content", value}});
  if (is_one_of({"function_call", "tool_call"})) {
    auto calls = parse_text(value);
    if (!calls) return errorf("is a function_call whose value is not JSON");
    if (!calls->is_array()) calls = Json::array({*calls});
    return builder.add({{"role", "assistant"}, {"content", ""}, {"tool_calls", *calls}});
  }
  return errorf(
      "is from '%.40s'; known are human, gpt, system, function_call, observation and their "
      "other names",
      from.c_str());
}

Result<Conversation> from_sharegpt(const Json& record) {
  const Json* messages = find(record, "conversations");
  if (messages == nullptr) return errorf("'conversations' is missing");
  Builder builder;
  GEIST_TRY(check_text(record, "system", false));
  if (const std::string system = text_at(record, "system"); !system.empty())
    builder.add("system", system);
  GEIST_TRY(add_all(builder, *messages, "conversations", add_sharegpt));
  return builder.finish(find(record, "tools"));
}

// ---- Alpaca

Result<Conversation> from_alpaca(const Json& record) {
  GEIST_TRY(check_text(record, "instruction", true));
  GEIST_TRY(check_text(record, "input", false));
  GEIST_TRY(check_text(record, "system", false));
  const char* answer = find(record, "output") == nullptr ? "response" : "output";
  if (find(record, answer) == nullptr) return errorf("'output' is missing");
  GEIST_TRY(check_text(record, answer, true));
  Builder builder;
  if (const std::string system = text_at(record, "system"); !system.empty())
    builder.add("system", system);
  if (const Json* history = find(record, "history")) {
    if (!history->is_array()) return errorf("'history' is not a list");
    for (const Json& turn : *history) {
      if (!turn.is_array() || turn.size() != 2 || !turn[0].is_string() || !turn[1].is_string())
        return errorf("'history' is not a list of pairs [question, answer]");
      builder.add("user", turn[0]);
      builder.add("assistant", turn[1]);
    }
  }
  std::string question = text_at(record, "instruction");
  if (const std::string input = text_at(record, "input"); !input.empty())
    question += (question.empty() ? "" : "\n") + input;
  if (question.empty()) return errorf("'instruction' is empty");
  if (text_at(record, answer).empty()) return errorf("'%s' is empty", answer);
  builder.add("user", question);
  builder.add("assistant", record[answer]);
  return builder.finish(nullptr);
}

Result<Conversation> from_openai(const Json& record) {
  const Json* messages = find(record, "messages");
  if (messages == nullptr) return errorf("'messages' is missing");
  Builder builder;
  GEIST_TRY(add_all(builder, *messages, "messages", add_openai));
  return builder.finish(find(record, "tools"));
}

Result<ConversationFormat> detect(const Json& record) {
  if (find(record, "messages") != nullptr) return ConversationFormat::kOpenAi;
  if (find(record, "conversations") != nullptr) return ConversationFormat::kShareGpt;
  if (find(record, "instruction") != nullptr) return ConversationFormat::kAlpaca;
  return errorf(
      "this record has neither 'messages' (OpenAI) nor 'conversations' (ShareGPT) nor "
      "'instruction' (Alpaca)");
}

}  // namespace

std::string Conversation::hash() const {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(messages.data(), messages.size() + 1)));
  hash.update(std::as_bytes(std::span(tools)));
  return to_hex(hash.finish());
}

Result<Conversation> to_conversation(const Json& record, ConversationFormat format) {
  if (!record.is_object()) return errorf("this record is not a JSON object");
  if (format == ConversationFormat::kDetect) {
    GEIST_ASSIGN(format, detect(record));
  }
  return format == ConversationFormat::kOpenAi   ? from_openai(record)
         : format == ConversationFormat::kAlpaca ? from_alpaca(record)
                                                 : from_sharegpt(record);
}

Result<Conversation> messages_to_conversation(const Json& messages) {
  Builder builder;
  GEIST_TRY(add_all(builder, messages, "messages", add_openai));
  return builder.finish(nullptr);
}

namespace {

RecordSink converting(ConversationFormat format, const ConversationSink& sink) {
  return [format, &sink](const Json& record, const std::string& where) -> Status {
    const auto conversation = to_conversation(record, format);
    if (!conversation.ok())
      return errorf("%s: %s", where.c_str(), conversation.error().message.c_str());
    return sink(*conversation, where);
  };
}

}  // namespace

Status read_conversations_from(std::string_view bytes, const std::string& name,
                               ConversationFormat format, const ConversationSink& sink) {
  return read_json_records_from(bytes, name, converting(format, sink));
}

Status read_conversations(const std::string& path, ConversationFormat format,
                          const ConversationSink& sink) {
  return read_json_records(path, converting(format, sink));
}

}  // namespace geist::train
