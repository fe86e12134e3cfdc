#include "text/chat_context.h"

#include <nlohmann/json.hpp>

#include "base/json_guard.h"

namespace geist::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 400;  // of a context: as deep as a template evaluates
constexpr const char* kProbe = "a system message to look for";

bool is_text_message(const Json& message, std::string_view role) {
  return message.is_object() && message.contains("role") && message["role"] == role &&
         message.contains("content") && message["content"].is_string();
}

// Asks the template itself: does a system message come out?
bool shows_system_messages(const ChatTemplate& chat_template) {
  const Json context = {
      {"messages",
       {{{"role", "system"}, {"content", kProbe}}, {{"role", "user"}, {"content", "x"}}}},
      {"bos_token", ""},
      {"eos_token", ""},
      {"add_generation_prompt", true}};
  const auto text = chat_template.render(context.dump(), 0);
  return text.ok() && text->find(kProbe) != std::string::npos;
}

}  // namespace

Result<std::string> fold_system_message(const ChatTemplate& chat_template,
                                        std::string_view context_json) {
  if (!json_depth_within(context_json, kDepthMax))
    return errorf("the context is nested deeper than %d levels", kDepthMax);
  Json context = Json::parse(context_json, nullptr, false);
  if (!context.is_object()) return Error{"the context is not a JSON object"};
  std::string unchanged(context_json);
  if (!context.contains("messages") || !context["messages"].is_array()) return unchanged;
  Json& messages = context["messages"];
  if (messages.size() < 2 || !is_text_message(messages[0], "system") ||
      !is_text_message(messages[1], "user") || shows_system_messages(chat_template)) {
    return unchanged;
  }
  messages[1]["content"] =
      messages[0]["content"].get<std::string>() + "\n" + messages[1]["content"].get<std::string>();
  messages.erase(messages.begin());
  return context.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace geist::text
