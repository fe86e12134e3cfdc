#include "engine/speculation.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace geist::engine {

// Going back to the last token that was drawn computes nothing anew.
static_assert(SpeculationCost::kDraftMax < kRewindTokens);

Speculator::Speculator(std::unique_ptr<Drafter> drafter, SpeculationOptions options)
    : drafter_(std::move(drafter)), options_(std::move(options)) {
  GEIST_CHECK(options_.draft_max >= 0 && options_.draft_max <= SpeculationCost::kDraftMax);
}

double Speculator::now_s() const {
  if (options_.clock_s) return options_.clock_s();
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Speculator::draft(const Session& session, const Sampler& sampler, int32_t limit,
                       std::vector<TokenId>& out) {
  limit = std::min(limit, options_.draft_max);
  if (limit <= 0) return;
  draft_class_ = drafter_->consider(session.tokens());
  if (draft_class_ < 0) return;
  const int32_t count = options_.always ? limit : cost_.choose(draft_class_, limit);
  if (count > 0) drafter_->draft(count, sampler, out);
}

void Lookahead::pass(Session& session, Runner& runner, const Sampler& sampler,
                     Speculator& speculator, int32_t limit) {
  GEIST_CHECK(!active() && session.pending() == 1);
  drafts_.clear();
  const double begin = speculator.now_s();
  speculator.draft(session, sampler, limit, drafts_);
  const double drafted = speculator.now_s();
  if (!drafts_.empty()) {
    session_.emplace(session.fork());
    // Memory may not suffice for what is only a guess.
    if (!session_->append(drafts_).ok()) session_.reset();
  }
  if (!active()) {
    runner.pass(session);
    speculator.cost_.passed(1, speculator.now_s() - drafted);
    return;
  }
  base_ = session.length();
  speculator_ = &speculator;
  rows_.clear();
  next_ = 0;
  const PassOptions options{.on_row =
                                [&](const Session&, int32_t, std::span<const float> row) {
                                  rows_.insert(rows_.end(), row.begin(), row.end());
                                },
                            .row_from = base_ - 1};
  while (session_->pending() > 0) runner.pass(*session_, options);
  draft_s_ = drafted - begin;
  verify_s_ = speculator.now_s() - drafted;
  const auto count = static_cast<int32_t>(drafts_.size());
  speculator.cost_.passed(1 + count, verify_s_);
  ++speculator.stats_.rounds;
  speculator.stats_.drafted += count;
}

std::span<const float> Lookahead::row() const {
  const size_t width = rows_.size() / (drafts_.size() + 1);
  return std::span(rows_).subspan(next_ * width, width);
}

bool Lookahead::drawn(TokenId id) {
  if (!active() || next_ >= drafts_.size() || drafts_[next_] != id) return false;
  ++next_;
  ++speculator_->stats_.accepted;
  return true;
}

void Lookahead::land(Session& session) {
  if (!active()) return;
  speculator_->cost_.verified(speculator_->draft_class_, static_cast<int32_t>(drafts_.size()),
                              static_cast<int32_t>(next_), draft_s_, verify_s_);
  // The last token waits for its turn, as it does without drafts. Nothing was drawn that the
  // session kept: it goes on from where it was.
  const int32_t keep = session.length() - 1;
  if (keep >= base_) {
    session_->truncate(keep);
    if (session_->append(session.tokens().subspan(static_cast<size_t>(keep))).ok())
      session = std::move(*session_);
  }
  session_.reset();
}

}  // namespace geist::engine
