#include "cli/conversation.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

namespace geist::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

// Room that a prompt leaves for the answer before old messages are dropped.
constexpr int32_t kAnswerRoomMax = 512;
// Prompt tokens between two looks at Ctrl-C.
constexpr int32_t kChunk = 128;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

std::string_view trimmed_front(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  return text;
}

std::string trimmed(std::string_view text) {
  text = trimmed_front(text);
  return std::string(text.substr(0, text.find_last_not_of(" \t\r\n") + 1));
}

}  // namespace

Conversation::Conversation(const SpeakingModel& loaded, const engine::ChatFormat& format,
                           PromptCache& cache, engine::SamplerOptions sampler, int32_t context_max,
                           engine::Speculator* speculator)
    : loaded_(&loaded),
      format_(&format),
      cache_(&cache),
      speculator_(speculator),
      sampler_options_(std::move(sampler)),
      session_(
          *loaded.model,
          {.context_max = context_max, .adapters = loaded.adapters, .memory = &cache.memory()}),
      runner_(*loaded.model, *loaded.pool),
      begun_unix_s_(std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count()) {}

// The tokens of the conversation without as many of its oldest exchanges as it takes to fit.
Result<std::vector<text::TokenId>> Conversation::fitting_prompt(int32_t* forgotten) const {
  const int32_t room = std::min(session_.context_max() / 4, kAnswerRoomMax);
  for (size_t first = 0;;) {
    std::vector<engine::ChatMessage> shown;
    if (!system_.empty()) shown.push_back({"system", system_});
    shown.insert(shown.end(), messages_.begin() + static_cast<std::ptrdiff_t>(first),
                 messages_.end());
    auto prompt = format_->prompt(shown, begun_unix_s_);
    *forgotten = static_cast<int32_t>(first);
    if (!prompt.ok() || static_cast<int32_t>(prompt->size()) + room <= session_.context_max())
      return prompt;
    // The next exchange begins with the user's next message; the last one is never dropped.
    size_t next = first + 1;
    while (next < messages_.size() && messages_[next].role != "user") ++next;
    if (next >= messages_.size()) return prompt;
    first = next;
  }
}

Status Conversation::rewind_to(std::span<const text::TokenId> prompt, Answer& answer) {
  const auto before = session_.tokens();
  const auto same = std::mismatch(before.begin(), before.end(), prompt.begin(), prompt.end());
  // At least one token is computed anew: its logits begin the answer.
  const auto kept =
      std::min<size_t>(static_cast<size_t>(same.first - before.begin()), prompt.size() - 1);
  session_.truncate(static_cast<int32_t>(kept));
  answer.prompt_tokens = static_cast<int32_t>(prompt.size());
  answer.cached_tokens = static_cast<int32_t>(kept);
  return session_.append(prompt.subspan(kept));
}

Result<Answer> Conversation::answer(int32_t tokens_max,
                                    const std::function<void(std::string_view)>& on_text,
                                    const std::function<bool()>& cancelled) {
  Answer answer;
  const auto prompt = fitting_prompt(&answer.messages_forgotten);
  if (!prompt.ok()) return prompt.error();
  if (prompt->empty()) return errorf("the chat template gives an empty prompt");
  if (Status status = rewind_to(*prompt, answer); !status) return status.error();
  engine::Sampler sampler(sampler_options_);
  sampler.seek(draws_);
  for (const text::TokenId id : *prompt) sampler.accept(id);
  engine::Generation generation(session_, runner_, sampler, *loaded_->tokenizer,
                                {.tokens_max = tokens_max,
                                 .chunk = kChunk,
                                 .stops = format_->stops(),
                                 .speculator = speculator_});
  const int32_t found_before = cache_->tokens_found();
  const auto begin = Clock::now();
  auto first_token = begin;
  while (answer.stop == engine::StopReason::kNone) {
    if (cancelled()) {
      answer.stop = engine::StopReason::kCancelled;
      break;
    }
    auto step = generation.step();
    if (!step.ok()) return step.error();
    if (step->token >= 0 && answer.tokens++ == 0) first_token = Clock::now();
    answer.stop = step->stop;
    // White space before the first word is the template's business, not the reader's.
    const std::string_view shown =
        answer.text.empty() ? trimmed_front(step->text) : std::string_view(step->text);
    answer.text += shown;
    if (!shown.empty()) on_text(shown);
  }
  draws_ = sampler.position();
  if (speculator_ != nullptr) answer.speculation = speculator_->stats();
  answer.cached_tokens =
      std::min(answer.prompt_tokens, answer.cached_tokens + cache_->tokens_found() - found_before);
  cache_->keep(session_);
  answer.prefill_s = seconds_between(begin, first_token);
  answer.decode_s = seconds_between(first_token, Clock::now());
  answer.text = trimmed(answer.text);
  // Stopped before it said anything: that is no answer.
  if (answer.stop != engine::StopReason::kCancelled || !answer.text.empty())
    messages_.push_back({"assistant", answer.text});
  return answer;
}

std::string Conversation::to_json() const {
  Json list = Json::array();
  if (!system_.empty()) list.push_back({{"role", "system"}, {"content", system_}});
  for (const engine::ChatMessage& message : messages_) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  return Json{{"messages", list}}.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Status Conversation::from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object() || !json.contains("messages") ||
      !json["messages"].is_array()) {
    return errorf("not a saved conversation: {\"messages\": [...]} is expected");
  }
  std::string system;
  std::vector<engine::ChatMessage> messages;
  for (const Json& message : json["messages"]) {
    const auto is_text = [&](const char* key) {
      return message.contains(key) && message[key].is_string();
    };
    if (!message.is_object() || !is_text("role") || !is_text("content")) {
      return errorf("message %zu of the saved conversation has no role and content",
                    messages.size() + 1);
    }
    if (message["role"] == "system" && messages.empty()) {
      system = message["content"];
    } else {
      messages.push_back({message["role"], message["content"]});
    }
  }
  system_ = std::move(system);
  messages_ = std::move(messages);
  return {};
}

}  // namespace geist::cli
