#include "train/rewards.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/reward_head.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"
#include "train/chat_encoder.h"
#include "train/preferences.h"
#include "train/world_grader.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

// A reward model with all that it refers to.
class Judge {
 public:
  static Result<std::shared_ptr<Judge>> open(const std::string& path, int64_t unix_time_s,
                                             ThreadPool& pool) {
    GEIST_ASSIGN(gguf::File file, model::open_model_file(path));
    GEIST_ASSIGN(text::Tokenizer tokenizer, model::load_tokenizer(file.metadata()));
    auto judge = std::shared_ptr<Judge>(new Judge(std::move(tokenizer)));
    GEIST_ASSIGN(ChatEncoder encoder,
                 ChatEncoder::create(file.metadata(), judge->tokenizer_, unix_time_s));
    judge->encoder_.emplace(std::move(encoder));
    GEIST_ASSIGN(judge->model_, model::Model::load(std::move(file), {.pool = &pool}));
    GEIST_ASSIGN(engine::RewardHead head, engine::RewardHead::load(*judge->model_));
    judge->head_.emplace(std::move(head));
    judge->runner_.emplace(*judge->model_, pool);
    return judge;
  }

  Result<double> score(const Task& task, const std::string& answer) {
    Json messages = Json::parse(task.messages, nullptr, false);
    messages.push_back({{"role", "assistant"}, {"content", answer}});
    Conversation conversation;
    conversation.messages = messages.dump(-1, ' ', false, Json::error_handler_t::replace);
    conversation.tools = task.tools;
    GEIST_TRY(keep_last_turn(&conversation));
    GEIST_ASSIGN(const auto chats, encoder_->encode(conversation));
    GEIST_ASSIGN(const float reward, head_->score(*runner_, chats.back().ids));
    return double{reward};
  }

 private:
  explicit Judge(text::Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  text::Tokenizer tokenizer_;
  std::optional<ChatEncoder> encoder_;
  std::unique_ptr<model::Model> model_;
  std::optional<engine::RewardHead> head_;
  std::optional<engine::Runner> runner_;
};

}  // namespace

std::string text_of(const Rollout& rollout, const text::Tokenizer& tokenizer) {
  std::span<const text::TokenId> ids = rollout.answer();
  if (rollout.ended) ids = ids.first(ids.size() - 1);
  return tokenizer.decode(ids);
}

Result<RewardFunction> make_reward(const RewardOptions& options, const text::Tokenizer& tokenizer,
                                   int64_t unix_time_s, ThreadPool& pool) {
  if (options.model.empty())
    return RewardFunction([&tokenizer](auto answers) -> Result<std::vector<double>> {
      std::vector<double> rewards;
      for (const Answered& a : answers) {
        GEIST_ASSIGN(const Grade graded, grade(a.task->check, text_of(*a.rollout, tokenizer)));
        rewards.push_back(graded.right ? 1 : 0);
      }
      return rewards;
    });
  GEIST_ASSIGN(const std::shared_ptr<Judge> judge, Judge::open(options.model, unix_time_s, pool));
  return RewardFunction([judge, &tokenizer](auto answers) -> Result<std::vector<double>> {
    std::vector<double> rewards;
    for (const Answered& a : answers) {
      GEIST_ASSIGN(const double reward, judge->score(*a.task, text_of(*a.rollout, tokenizer)));
      rewards.push_back(reward);
    }
    return rewards;
  });
}

}  // namespace geist::train
