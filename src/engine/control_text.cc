#include "engine/control_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace geist::engine {
namespace {

using Json = nlohmann::ordered_json;

// The private-use plane U+F0000 to U+FFFFD; in UTF-8 F3 B0 80 80 and on.
constexpr uint32_t kMarks = 0xFFFE;

std::string mark_character(uint32_t index) {
  return {static_cast<char>(0xF3), static_cast<char>(0xB0 + (index >> 12)),
          static_cast<char>(0x80 + (index >> 6 & 0x3F)), static_cast<char>(0x80 + (index & 0x3F))};
}

// The first that the text does not hold.
std::optional<std::string> free_mark(std::string_view text) {
  std::vector<bool> used(kMarks + 2);
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t at = text.find('\xF3'); at != std::string_view::npos && at + 4 <= text.size();
       at = text.find('\xF3', at + 1)) {
    if (byte(at + 1) < 0xB0 || byte(at + 1) > 0xBF) continue;
    used[(byte(at + 1) - 0xB0u) << 12 | (byte(at + 2) & 0x3Fu) << 6 | (byte(at + 3) & 0x3Fu)] =
        true;
  }
  for (uint32_t i = 0; i < kMarks; ++i)
    if (!used[i]) return mark_character(i);
  return std::nullopt;
}

// The texts of a message: its content, or the text of each part of it.
template <typename Visit>
void for_each_text(Json& messages, const Visit& visit) {
  for (Json& message : messages) {
    if (!message.is_object() || !message.contains("content")) continue;
    if (message.contains("role") && message["role"] == "assistant") continue;
    Json& content = message["content"];
    if (content.is_string()) visit(content);
    if (!content.is_array()) continue;
    for (Json& part : content)
      if (part.is_object() && part.contains("text") && part["text"].is_string())
        visit(part["text"]);
  }
}

}  // namespace

Result<std::optional<MarkedMessages>> mark_control_text(std::string_view messages_json,
                                                        const text::Tokenizer& tokenizer) {
  Json messages = Json::parse(messages_json, nullptr, false);
  std::string quoted;
  for_each_text(messages, [&](const Json& text) {
    const auto& content = text.get_ref<const std::string&>();
    if (!quoted.empty()) return;
    const auto breaks = tokenizer.control_breaks(content);
    if (breaks.empty()) return;
    size_t begin = breaks[0] - 1;  // the break is behind the first character
    while (begin > 0 && (static_cast<unsigned char>(content[begin]) & 0xC0) == 0x80) --begin;
    quoted = content.substr(begin, 20);
  });
  if (quoted.empty()) return std::optional<MarkedMessages>();
  const std::string dumped = messages.dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto mark = free_mark(dumped);
  if (!mark) return errorf("the messages hold every private-use character; take some out");
  for_each_text(messages, [&](Json& text) {
    auto& content = text.get_ref<std::string&>();
    const auto breaks = tokenizer.control_breaks(content);
    std::string out;
    size_t at = 0;
    for (const size_t inside : breaks) {
      out.append(content, at, inside - at).append(*mark);
      at = inside;
    }
    content = out.append(content, at);
  });
  return std::optional(MarkedMessages{messages.dump(-1, ' ', false, Json::error_handler_t::replace),
                                      *mark, std::move(quoted)});
}

std::vector<size_t> remove_marks(std::string_view mark, std::string* text) {
  std::vector<size_t> offsets;
  std::string out;
  size_t at = 0;
  for (size_t next; (next = text->find(mark, at)) != std::string::npos; at = next + mark.size()) {
    out.append(*text, at, next - at);
    offsets.push_back(out.size());
  }
  *text = out.append(*text, at);
  return offsets;
}

}  // namespace geist::engine
