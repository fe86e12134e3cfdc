#include "train/rollout.h"

#include <algorithm>

#include "base/check.h"

namespace geist::train {

RolloutMaker::RolloutMaker(const model::Model& model, const text::Tokenizer& tokenizer,
                           ThreadPool& pool, const RolloutOptions& options)
    : model_(&model),
      tokenizer_(&tokenizer),
      pool_(&pool),
      options_(options),
      runner_(model, pool) {}

engine::SamplerOptions RolloutMaker::sampling() const {
  engine::SamplerOptions o;
  o.temperature = options_.greedy ? 0.0f : 1.0f;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  o.seed = options_.seed;
  return o;
}

Result<engine::Session> RolloutMaker::read(const std::vector<text::TokenId>& prompt) {
  engine::Session session(*model_, {});
  if (prompt.empty()) return errorf("a prompt without tokens cannot be answered");
  GEIST_TRY(model_->check_tokens(prompt));
  GEIST_TRY(session.append(prompt));
  if (session.length() >= session.context_max())
    return errorf("a prompt of %zu tokens leaves no room for an answer in a context of %d",
                  prompt.size(), session.context_max());
  while (session.pending() > 0) runner_.pass(session);
  return session;
}

void RolloutMaker::draw(Active& a) const {
  const std::span<const float> logits = a.session.logits();
  a.token = a.sampler.sample(logits);
  a.rollout->log_probabilities.push_back(engine::log_probability(logits, a.token));
  a.rollout->entropy += engine::entropy(logits);
}

// Draws a token for each active answer, ends those that end, and computes what is next.
Status RolloutMaker::advance() {
  std::vector<Active*> list;
  for (Active& a : active_) list.push_back(&a);
  pool_->for_ranges(static_cast<int64_t>(list.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) draw(*list[static_cast<size_t>(i)]);
  });
  std::vector<engine::Session*> sessions;
  for (auto at = active_.begin(); at != active_.end();) {
    Rollout& rollout = *at->rollout;
    rollout.ids.push_back(at->token);
    rollout.ended = tokenizer_->is_end(at->token);
    if (rollout.ended || rollout.tokens() >= at->limit) {
      rollout.entropy /= static_cast<double>(rollout.tokens());
      at = active_.erase(at);
      continue;
    }
    GEIST_TRY(at->session.append(at->token));
    sessions.push_back(&at->session);
    ++at;
  }
  if (sessions.empty()) return {};
  const auto all = static_cast<int32_t>(sessions.size());
  GEIST_CHECK(runner_.pass(sessions, {.tokens_max = all}) == all);
  return {};
}

Result<std::vector<Rollout>> RolloutMaker::make(std::span<const std::vector<text::TokenId>> prompts,
                                                int64_t group, uint64_t first_stream) {
  const auto members = static_cast<size_t>(group);
  std::vector<Rollout> rollouts(prompts.size() * members);
  active_.clear();
  size_t next = 0;
  std::vector<engine::Session> prompt;  // the one that is being answered
  while (next < rollouts.size() || !active_.empty()) {
    while (next < rollouts.size() && active_.size() < static_cast<size_t>(options_.at_once)) {
      const std::vector<text::TokenId>& ids = prompts[next / members];
      if (next % members == 0) {
        prompt.clear();
        GEIST_ASSIGN(engine::Session session, read(ids));
        prompt.push_back(std::move(session));
      }
      Rollout& rollout = rollouts[next];
      rollout.ids = ids;
      rollout.prompt = static_cast<int64_t>(ids.size());
      const int32_t room = prompt[0].context_max() - prompt[0].length();
      active_.push_back({prompt[0].fork(), engine::Sampler(sampling(), first_stream + next),
                         &rollout, std::min(room, options_.tokens_max)});
      ++next;
    }
    GEIST_TRY(advance());
  }
  return rollouts;
}

}  // namespace geist::train
