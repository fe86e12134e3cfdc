#include "engine/chat_format.h"

#include <nlohmann/json.hpp>

#include "engine/control_text.h"
#include "engine/prompt.h"
#include "model/load_tokenizer.h"
#include "text/chat_context.h"

namespace geist::engine {
namespace {

using Json = nlohmann::ordered_json;

// For models that know the ChatML tokens and bring no template.
constexpr std::string_view kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

// For base models.
constexpr std::string_view kTranscript =
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}\n\n{% else %}{{ m.role | capitalize }}: {{ "
    "m.content }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}";

// The text of a token as templates write it; empty when there is none.
std::string token_text(const text::Tokenizer& tokenizer, text::TokenId id) {
  return id < 0 ? "" : tokenizer.token_bytes(id, true);
}

}  // namespace

Result<ChatFormat> ChatFormat::create(const gguf::Metadata& metadata,
                                      const text::Tokenizer& tokenizer) {
  auto source = model::load_chat_template(metadata);
  if (!source.ok()) return source.error();
  const bool from_model = source->has_value();
  const bool chat_ml = tokenizer.find("<|im_start|>") >= 0 && tokenizer.find("<|im_end|>") >= 0;
  auto parsed = text::ChatTemplate::parse(from_model ? std::string_view(**source)
                                          : chat_ml  ? kChatMl
                                                     : kTranscript);
  if (!parsed.ok()) return Error{"the model's chat template: " + parsed.error().message};
  ChatFormat format(std::move(*parsed), tokenizer);
  format.from_model_ = from_model;
  if (!from_model && !chat_ml) format.stops_ = {"\nUser:"};
  return format;
}

Result<std::string> ChatFormat::render_messages(const std::string& messages, const ChatView& view,
                                                int64_t unix_time_s,
                                                std::vector<text::TextSpan>* generated) const {
  const text::Vocabulary& vocabulary = tokenizer_->vocabulary();
  Json context = {{"messages", Json::parse(messages, nullptr, false)},
                  {"bos_token", token_text(*tokenizer_, vocabulary.bos)},
                  {"eos_token", token_text(*tokenizer_, vocabulary.eos)},
                  {"add_generation_prompt", view.add_generation_prompt}};
  if (!view.tools.empty()) context["tools"] = Json::parse(view.tools, nullptr, false);
  if (!context["messages"].is_array()) return errorf("the messages are not a list in JSON");
  // Templates that know no system message get it with the first user message.
  GEIST_ASSIGN(const std::string folded,
               text::fold_system_message(
                   template_, context.dump(-1, ' ', false, Json::error_handler_t::replace)));
  auto text = template_.render(folded, unix_time_s, {}, generated);
  if (!text.ok()) return Error{"the model's chat template: " + text.error().message};
  return text;
}

Result<std::string> ChatFormat::render(const ChatView& view, int64_t unix_time_s,
                                       std::vector<text::TextSpan>* generated,
                                       std::vector<size_t>* breaks) const {
  GEIST_ASSIGN(std::string text, render_messages(view.messages, view, unix_time_s, generated));
  if (breaks == nullptr) return text;
  breaks->clear();
  GEIST_ASSIGN(const auto marked, mark_control_text(view.messages, *tokenizer_));
  if (!marked) return text;
  GEIST_ASSIGN(std::string shown, render_messages(marked->messages, view, unix_time_s, nullptr));
  *breaks = remove_marks(marked->mark, &shown);
  if (shown == text) return text;
  return errorf(
      "a message quotes the control token '%s', and the chat template does not show it as it "
      "stands: it cannot be told from the template's own; take it out of the message",
      marked->quoted.c_str());
}

Result<std::vector<text::TokenId>> ChatFormat::prompt(std::span<const ChatMessage> messages,
                                                      int64_t unix_time_s) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  const ChatView view{.messages = list.dump(-1, ' ', false, Json::error_handler_t::replace),
                      .tools = {}};
  std::vector<size_t> breaks;
  GEIST_ASSIGN(const std::string text, render(view, unix_time_s, nullptr, &breaks));
  return encode_prompt(*tokenizer_, text, {.breaks = breaks});
}

}  // namespace geist::engine
