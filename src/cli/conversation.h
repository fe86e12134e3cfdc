// A conversation with a model: messages, and a session whose tokens follow them. Each answer
// renders the whole conversation and keeps the keys and values of the tokens that are the same as
// before, so that editing history (a new system message, another answer) needs no special cases.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/model_options.h"
#include "cli/prompt_cache.h"
#include "engine/chat_format.h"
#include "engine/generation.h"
#include "engine/sampler.h"

namespace geist::cli {

struct Answer {
  std::string text;  // without white space around it
  engine::StopReason stop = engine::StopReason::kNone;
  int32_t prompt_tokens = 0, cached_tokens = 0, tokens = 0;
  int32_t messages_forgotten = 0;  // dropped from the front to fit the context
  double prefill_s = 0, decode_s = 0;
  engine::SpeculationStats speculation;  // of the whole conversation
};

class Conversation {
 public:
  // Refers to loaded, format, cache and speculator (null: none).
  Conversation(const SpeakingModel& loaded, const engine::ChatFormat& format, PromptCache& cache,
               engine::SamplerOptions sampler, int32_t context_max, engine::Speculator* speculator);

  // Empty: none.
  void set_system(std::string text) { system_ = std::move(text); }
  const std::string& system() const { return system_; }
  std::vector<engine::ChatMessage>& messages() { return messages_; }  // without the system message
  engine::SamplerOptions& sampler_options() { return sampler_options_; }

  // Answers the conversation as it stands (the last message is the user's) and appends the answer,
  // also when cancelled() cut it short. on_text gets the text as it comes.
  Result<Answer> answer(int32_t tokens_max, const std::function<void(std::string_view)>& on_text,
                        const std::function<bool()>& cancelled);

  // {"messages": [...]}, the system message included.
  std::string to_json() const;
  Status from_json(const std::string& text);

 private:
  Result<std::vector<text::TokenId>> fitting_prompt(int32_t* forgotten) const;
  Status rewind_to(std::span<const text::TokenId> prompt, Answer& answer);

  const SpeakingModel* loaded_;
  const engine::ChatFormat* format_;
  PromptCache* cache_;
  engine::Speculator* speculator_;
  engine::SamplerOptions sampler_options_;
  engine::Session session_;
  engine::Runner runner_;
  uint64_t draws_ = 0;  // position of the random stream: every answer draws on
  int64_t begun_unix_s_;
  std::string system_;
  std::vector<engine::ChatMessage> messages_;
};

}  // namespace geist::cli
