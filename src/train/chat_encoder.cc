#include "train/chat_encoder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/check.h"
#include "engine/prompt.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;
using text::TextSpan;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_assistant(const Json& message) { return message["role"] == "assistant"; }

Json first_messages(const Json& messages, size_t count) {
  Json head = Json::array();
  for (size_t i = 0; i < count; ++i) head.push_back(messages[i]);
  return head;
}

void write_arguments_as_text(Json* messages) {
  for (Json& message : *messages) {
    if (!message.contains("tool_calls")) continue;
    for (Json& call : message["tool_calls"]) {
      Json& arguments = call["function"]["arguments"];
      arguments = dump(arguments);
    }
  }
}

// A conversation with one call, to see how a template writes it.
Json probe_messages() {
  const Json function = {{"name", "probe_name"}, {"arguments", {{"probe_key", "probe_value"}}}};
  return {{{"role", "user"}, {"content", "x"}},
          {{"role", "assistant"},
           {"content", ""},
           {"tool_calls",
            Json::array({{{"id", "call00000"}, {"type", "function"}, {"function", function}}})}}};
}
constexpr const char* kProbeTools =
    R"([{"type":"function","function":{"name":"probe_name","description":"x","parameters":)"
    R"({"type":"object","properties":{"probe":{"type":"string","description":"x"}}}}}])";

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::vector<TextSpan> joined(const std::vector<TextSpan>& spans) {
  std::vector<TextSpan> out;
  for (const TextSpan& span : spans) {
    if (!out.empty() && out.back().end == span.begin) {
      out.back().end = span.end;
    } else {
      out.push_back(span);
    }
  }
  return out;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// The turns of one conversation, as its template shows them.
class Turns {
 public:
  Turns(const engine::ChatFormat& format, Json messages, const Conversation& conversation,
        int64_t unix_time_s)
      : format_(format),
        messages_(std::move(messages)),
        tools_(conversation.tools),
        unix_time_s_(unix_time_s) {
    const auto& left_out = conversation.unlearned;
    for (size_t i = 0; i < messages_.size(); ++i) {
      if (!is_assistant(messages_[i])) continue;
      assistants_.push_back(i);
      if (std::find(left_out.begin(), left_out.end(), i) == left_out.end()) learned_.push_back(i);
    }
  }

  // Texts, what is learned of each, and where no control token is parsed (engine::ChatFormat).
  struct Text {
    std::string text;
    std::vector<TextSpan> learned;
    std::vector<size_t> breaks;
  };
  Result<std::vector<Text>> find() {
    if (learned_.empty()) return errorf("there is no assistant message to learn");
    // What stands behind the last turn teaches nothing.
    GEIST_ASSIGN(whole_, render(learned_.back() + 1, false, &breaks_, &marks_));
    GEIST_TRY(check_shown());
    if (format_.marks_generation())
      if (auto marked = find_marked()) return std::vector<Text>{std::move(*marked)};
    return find_by_prefix();
  }

 private:
  Result<std::string> render(size_t count, bool prompt, std::vector<size_t>* breaks,
                             std::vector<TextSpan>* marks = nullptr) {
    return format_.render({.messages = dump(first_messages(messages_, count)),
                           .tools = tools_,
                           .add_generation_prompt = prompt},
                          unix_time_s_, marks, breaks);
  }

  // Templates for pictures, which want lists of parts, leave a plain text out. Looked for is the
  // end of an answer: thoughts and white space before it may rightly be gone.
  Status check_shown() const {
    for (const size_t i : learned_) {
      std::string_view content = messages_[i]["content"].get_ref<const std::string&>();
      content = content.substr(0, content.find_last_not_of(" \t\r\n") + 1);
      content.remove_prefix(content.size() - std::min<size_t>(content.size(), 12));
      if (!contains(whole_, content))
        return errorf("message %zu: the chat template does not show what the assistant says", i);
    }
    return {};
  }

  // Nothing where the marks do not tell which turn each belongs to.
  std::optional<Text> find_marked() {
    const std::vector<TextSpan> spans = joined(marks_);
    const auto shown = static_cast<size_t>(
        std::upper_bound(assistants_.begin(), assistants_.end(), learned_.back()) -
        assistants_.begin());
    if (spans.size() < shown) return {};
    if (learned_.size() == shown) return Text{whole_, spans, breaks_};
    if (spans.size() != shown) return {};
    Text text{whole_, {}, breaks_};
    for (size_t i = 0; i < shown; ++i)
      if (std::binary_search(learned_.begin(), learned_.end(), assistants_[i]))
        text.learned.push_back(spans[i]);
    return text;
  }

  Result<std::vector<Text>> find_by_prefix() {
    std::vector<Text> single;
    Text together{whole_, {}, breaks_};
    bool one_text = true;
    for (const size_t i : learned_) {
      GEIST_ASSIGN(const std::string before, render(i, true, nullptr));
      std::vector<size_t> breaks = breaks_;
      GEIST_ASSIGN(std::string after, i == learned_.back() ? Result<std::string>(whole_)
                                                           : render(i + 1, false, &breaks));
      if (!after.starts_with(before))
        return errorf(
            "message %zu: what is the assistant's cannot be told: as a prompt the chat template "
            "ends in '%s', which is not how its text with the answer goes on; name a template "
            "with {%% generation %%} around the answer (data.chat_template)",
            i, end_of(before).c_str());
      const TextSpan span{before.size(), after.size()};
      one_text &= whole_.starts_with(after);
      together.learned.push_back(span);
      single.push_back({std::move(after), {span}, std::move(breaks)});
    }
    if (one_text) return std::vector<Text>{std::move(together)};
    return single;
  }

  static std::string end_of(const std::string& text) {
    size_t begin = text.size() - std::min<size_t>(text.size(), 30);
    while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
    return dump(Json(text.substr(begin)));
  }

  const engine::ChatFormat& format_;
  const Json messages_;
  const std::string& tools_;
  const int64_t unix_time_s_;
  std::vector<size_t> assistants_, learned_;  // messages, ascending
  std::string whole_;
  std::vector<TextSpan> marks_;
  std::vector<size_t> breaks_;  // of whole_
};

}  // namespace

Result<ChatEncoder> ChatEncoder::create(const gguf::Metadata& metadata,
                                        const text::Tokenizer& tokenizer, int64_t unix_time_s) {
  GEIST_ASSIGN(engine::ChatFormat format, engine::ChatFormat::create(metadata, tokenizer));
  ChatEncoder encoder(std::move(format), tokenizer, unix_time_s);
  encoder.ask_for_arguments();
  return encoder;
}

// Templates differ in whether they write arguments by tojson (an object is wanted) or as they come
// (JSON text is wanted); the wrong kind shows up as Python's notation or as JSON in JSON.
void ChatEncoder::ask_for_arguments() {
  Json messages = probe_messages();
  const auto shown = [&] {
    return format_.render(
        {.messages = dump(messages), .tools = kProbeTools, .add_generation_prompt = false},
        unix_time_s_);
  };
  const auto object = shown();
  if (object.ok() && contains(*object, "probe_key") && !contains(*object, "'probe_key'") &&
      !contains(*object, "\\\"probe_key")) {
    arguments_ = Arguments::kObject;
    return;
  }
  write_arguments_as_text(&messages);
  const auto text = shown();
  if (text.ok() && contains(*text, "\"probe_key\"")) arguments_ = Arguments::kText;
}

Result<std::vector<EncodedChat>> ChatEncoder::encode(const Conversation& conversation) const {
  Json messages = Json::parse(conversation.messages, nullptr, false);
  GEIST_CHECK(messages.is_array());
  const bool calls = std::any_of(messages.begin(), messages.end(),
                                 [](const Json& m) { return m.contains("tool_calls"); });
  if (calls && arguments_ == Arguments::kUnknown)
    return errorf("there is a tool call, and the chat template does not show tool calls");
  if (calls && arguments_ == Arguments::kText) write_arguments_as_text(&messages);
  Turns turns(format_, std::move(messages), conversation, unix_time_s_);
  GEIST_ASSIGN(const auto texts, turns.find());
  std::vector<EncodedChat> out;
  for (const auto& [text, learned, breaks] : texts) {
    GEIST_ASSIGN(EncodedChat chat, encode_text(text, learned, breaks));
    out.push_back(std::move(chat));
  }
  return out;
}

Result<EncodedChat> ChatEncoder::encode_text(std::string_view text,
                                             const std::vector<TextSpan>& learned,
                                             const std::vector<size_t>& breaks) const {
  EncodedChat chat;
  std::vector<bool> is_learned;
  bool wants_end = false;  // of the turn before: its template ends it with the next text
  const auto add = [&](size_t begin, size_t until, bool learn) {
    const std::string_view part = text.substr(begin, until - begin);
    std::vector<size_t> inside;
    for (const size_t offset : breaks)
      if (offset > begin && offset < begin + part.size()) inside.push_back(offset - begin);
    const bool first = chat.ids.empty();
    // As engine::encode_prompt does it, BOS included; what follows goes on from what was there.
    const bool continues = !first && !tokenizer_->is_control(chat.ids.back());
    const auto ids = first ? engine::encode_prompt(*tokenizer_, part, {.breaks = inside})
                           : tokenizer_->encode(part, {.add_special = false,
                                                       .parse_special = true,
                                                       .continues = continues,
                                                       .breaks = inside});
    size_t end = learn ? ids.size() : 0;
    bool ends = false;
    for (size_t k = end; learn && k-- > 0;) {
      if (tokenizer_->is_end(ids[k])) {
        end = k + 1;
        ends = true;
      } else if (!is_blank(tokenizer_->token_bytes(ids[k], true))) {
        break;
      }
    }
    if (wants_end && !learn && !ids.empty() && tokenizer_->is_end(ids[0])) end = 1;
    wants_end = learn && !ends;
    for (size_t k = 0; k < ids.size(); ++k) {
      chat.ids.push_back(ids[k]);
      is_learned.push_back(k < end);
    }
  };
  size_t at = 0;
  for (const TextSpan& span : learned) {
    add(at, span.begin, false);
    add(span.begin, span.end, true);
    at = span.end;
  }
  if (wants_end) add(at, text.size(), false);
  // Nothing behind the last learned token is read.
  while (!is_learned.empty() && !is_learned.back()) is_learned.pop_back();
  chat.ids.resize(is_learned.size());
  for (size_t i = 1; i < is_learned.size(); ++i) {
    chat.weights.push_back(is_learned[i] ? 1.0f : 0.0f);
    if (!is_learned[i]) continue;
    ++chat.learned;
    chat.learned_bytes += tokenizer_->token_bytes(chat.ids[i], true).size();
  }
  if (chat.learned == 0) return errorf("the assistant's turns have no token to learn");
  return chat;
}

}  // namespace geist::train
