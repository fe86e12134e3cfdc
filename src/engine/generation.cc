#include "engine/generation.h"

#include <algorithm>

#include "base/check.h"
#include "base/unicode.h"
#include "engine/finite.h"

namespace geist::engine {

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::kNone:
      return "none";
    case StopReason::kEnd:
      return "end";
    case StopReason::kStop:
      return "stop";
    case StopReason::kLength:
      return "length";
    case StopReason::kContext:
      return "context";
    case StopReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

std::string StopScanner::push(std::string_view text) {
  if (found_) return {};
  held_ += text;
  size_t stop = std::string::npos;
  for (const std::string& candidate : stops_) {
    if (!candidate.empty()) stop = std::min(stop, held_.find(candidate));
  }
  if (stop != std::string::npos) {
    found_ = true;
    std::string out = held_.substr(0, stop);
    held_.clear();
    return out;
  }
  size_t show = complete_utf8_prefix(held_);
  for (const std::string& candidate : stops_) {
    // The longest end of the text that may be the beginning of a stop string stays.
    const size_t longest = std::min(candidate.size(), held_.size());
    for (size_t length = longest; length > 0; --length) {
      if (held_.compare(held_.size() - length, length, candidate, 0, length) == 0) {
        show = std::min(show, held_.size() - length);
        break;
      }
    }
  }
  std::string out = held_.substr(0, show);
  held_.erase(0, show);
  return out;
}

std::string StopScanner::finish() {
  std::string out;
  out.swap(held_);
  return out;
}

Generation::Generation(Session& session, Runner& runner, Sampler& sampler,
                       const text::Tokenizer& tokenizer, GenerationOptions options)
    : session_(&session),
      runner_(&runner),
      sampler_(&sampler),
      tokenizer_(&tokenizer),
      options_(std::move(options)),
      scanner_(options_.stops) {
  GEIST_CHECK(session.length() > 0);
}

Result<GenerationStep> Generation::end(StopReason reason, GenerationStep step) {
  lookahead_.land(*session_);
  step.stop = reason;
  step.text += scanner_.finish();
  return step;
}

Result<GenerationStep> Generation::step() {
  if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
    return end(StopReason::kCancelled, {});
  }
  if (!runner_->model().config().has_logits)
    return errorf("this is an embedding model, which cannot continue a text; choose another one");
  if (!lookahead_.active() && session_->pending() > 0) {
    if (options_.speculator != nullptr && session_->pending() == 1) {
      lookahead_.pass(*session_, *runner_, *sampler_, *options_.speculator, draft_room());
    } else {
      runner_->pass(*session_, {.tokens_max = options_.chunk});
    }
    if (!lookahead_.active() && session_->pending() > 0) return GenerationStep{};
  }
  if (options_.tokens_max >= 0 && drawn_ >= options_.tokens_max)
    return end(StopReason::kLength, {});
  return draw();
}

// Drafts that could still be drawn, besides the token that comes anyway.
int32_t Generation::draft_room() const {
  const int32_t room = session_->context_max() - session_->length();
  return options_.tokens_max < 0 ? room : std::min(room, options_.tokens_max - drawn_ - 1);
}

Result<GenerationStep> Generation::draw() {
  GenerationStep step;
  const std::span<const float> logits = lookahead_.active() ? lookahead_.row() : session_->logits();
  GEIST_TRY(check_finite(logits));
  step.token = sampler_->sample(logits);
  if (options_.log_probabilities) {
    step.log_probability = log_probability(logits, step.token);
  }
  sampler_->accept(step.token);
  const bool drafted = lookahead_.drawn(step.token);
  ++drawn_;
  if (!options_.ignore_end && tokenizer_->is_end(step.token)) return end(StopReason::kEnd, step);
  step.text = scanner_.push(tokenizer_->token_bytes(step.token, options_.show_special));
  const bool full = session_->length() >= session_->context_max();
  if (!full) {
    if (const Status status = session_->append(step.token); !status) return status.error();
  }
  if (!drafted) lookahead_.land(*session_);
  if (scanner_.found()) return end(StopReason::kStop, step);
  if (options_.tokens_max >= 0 && drawn_ >= options_.tokens_max)
    return end(StopReason::kLength, step);
  if (full) return end(StopReason::kContext, step);
  return step;
}

}  // namespace geist::engine
