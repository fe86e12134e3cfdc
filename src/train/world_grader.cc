#include "train/world_grader.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/json_guard.h"

namespace geist::train {
namespace {

using Json = nlohmann::json;

constexpr int kJsonDepthMax = 32;
constexpr std::string_view kCallOpens = "<tool_call>", kCallCloses = "</tool_call>";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

bool is_word_byte(char c) { return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

bool has_word(std::string_view text, std::string_view word) {
  for (size_t at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_word_byte(text[at - 1])) &&
        (end == text.size() || !is_word_byte(text[end])))
      return true;
  }
  return false;
}

// The number behind the last "Answer:", to its end; a sentence's full stop may follow.
std::string_view final_number(std::string_view text) {
  constexpr std::string_view kMark = "Answer:";
  const size_t at = text.rfind(kMark);
  if (at == std::string_view::npos) return {};
  std::string_view number = trimmed(text.substr(at + kMark.size()));
  if (number.ends_with('.')) number.remove_suffix(1);
  return number;
}

Json parse(std::string_view text) {
  if (!json_depth_within(text, kJsonDepthMax)) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, false);
}

Grade grade_call(const Json& check, std::string_view answer) {
  answer = trimmed(answer);
  if (!answer.starts_with(kCallOpens) || !answer.ends_with(kCallCloses) ||
      answer.size() < kCallOpens.size() + kCallCloses.size())
    return {};
  answer.remove_prefix(kCallOpens.size());
  answer.remove_suffix(kCallCloses.size());
  const Json call = parse(answer);
  if (!call.is_object() || call.size() != 2 || !call.contains("name") ||
      !call.contains("arguments") || !call["arguments"].is_object())
    return {};
  if (call["name"] != check["name"]) return {};
  return {.right = call["arguments"] == check["arguments"], .valid = true};
}

Grade same(bool right) { return {.right = right, .valid = right}; }

}  // namespace

Result<Grade> grade(std::string_view check_text, std::string_view answer) {
  const Json check = parse(check_text);
  const auto text = [&](const char* key) {
    const auto at = check.is_object() ? check.find(key) : check.end();
    return check.is_object() && at != check.end() && at->is_string() ? at->get<std::string>()
                                                                     : std::string();
  };
  const std::string kind = text("kind"), value = text("value");
  if (kind == "tool_call" && !text("name").empty() && check.contains("arguments"))
    return grade_call(check, answer);
  if (value.empty())
    return errorf("check: needs a 'kind' (exact, number, word, tool_call) and its 'value'");
  if (kind == "exact") return same(trimmed(answer) == trimmed(value));
  if (kind == "number") return same(final_number(answer) == value);
  if (kind != "word") return errorf("check: the kind '%s' is not known", kind.c_str());
  bool right = has_word(answer, value);
  if (check.contains("not") && check["not"].is_array())
    for (const Json& other : check["not"])
      right =
          right && !(other.is_string() && has_word(answer, other.get_ref<const std::string&>()));
  return same(right);
}

}  // namespace geist::train
