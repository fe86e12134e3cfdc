// Speculative decoding (Leviathan et al., arXiv:2211.17192): a cheap drafter says what may come,
// one pass of the model computes the logits after each draft, and the sampler is run on these rows
// in order. A draft stays as long as the sampler draws that very token. Since a row does not depend
// on what else is in a pass, and a sampler's randomness is a function of the position, the tokens
// are those of decoding one by one, whatever the sampler's options: only the time differs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/ngram_index.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/speculation_cost.h"
#include "text/tokenizer.h"

namespace geist::engine {

// Where drafts come from. It sees the same timeline again and again, longer or cut back.
class Drafter {
 public:
  virtual ~Drafter() = default;
  // Looks at the text so far. The class of what it could draft now (speculation_cost.h), or -1.
  virtual int32_t consider(std::span<const TokenId> tokens) = 0;
  // Appends up to `count` tokens that may follow the text last considered. `sampler` has accepted
  // that text.
  virtual void draft(int32_t count, const Sampler& sampler, std::vector<TokenId>& out) = 0;
};

// Drafts what followed the last tokens when they were there before.
std::unique_ptr<Drafter> make_ngram_drafter();

// Drafts what a smaller model samples with the same random numbers: the better it knows the large
// one's distribution, the more often both fall on the same token, at any temperature. Fails when
// the vocabularies differ. `pool` must live as long.
Result<std::unique_ptr<Drafter>> make_model_drafter(std::unique_ptr<model::Model> draft,
                                                    const text::Tokenizer& draft_tokenizer,
                                                    const text::Tokenizer& tokenizer,
                                                    ThreadPool& pool);

struct SpeculationOptions {
  int32_t draft_max = 16;                // drafts in a pass at most, up to kDraftMax
  bool always = false;                   // drafts draft_max tokens whatever they cost (tests)
  std::function<double()> clock_s = {};  // seconds; empty: the steady clock
};

struct SpeculationStats {
  int64_t rounds = 0, drafted = 0, accepted = 0;
};

// A drafter and what was learned of its use; may serve many generations, one at a time.
class Speculator {
 public:
  explicit Speculator(std::unique_ptr<Drafter> drafter, SpeculationOptions options = {});
  const SpeculationStats& stats() const { return stats_; }

 private:
  friend class Lookahead;
  void draft(const Session& session, const Sampler& sampler, int32_t limit,
             std::vector<TokenId>& out);
  double now_s() const;

  std::unique_ptr<Drafter> drafter_;
  SpeculationOptions options_;
  SpeculationCost cost_;
  SpeculationStats stats_;
  int32_t draft_class_ = 0;
};

// The logits of a session's next positions, computed with drafts in a copy of it. The session
// itself only ever holds tokens that were drawn: dropping a Lookahead at any time loses time, no
// token.
class Lookahead {
 public:
  // Computes the session's one pending token, and up to `limit` drafts after it when they promise
  // to be worth it. active() tells whether there are rows; otherwise session.logits() is next.
  void pass(Session& session, Runner& runner, const Sampler& sampler, Speculator& speculator,
            int32_t limit);

  bool active() const { return session_.has_value(); }
  std::span<const float> row() const;  // what to draw the next token from
  // The token that was drawn from row(). Whether it is the draft, so that the row after it counts.
  bool drawn(TokenId id);
  // Hands what was computed for the session's tokens over to it. Nothing when not active.
  void land(Session& session);

 private:
  std::optional<Session> session_;  // with all drafts
  Speculator* speculator_ = nullptr;
  int32_t base_ = 0;  // length of the session when the drafts were made
  std::vector<TokenId> drafts_;
  std::vector<float> rows_;  // [1 + drafts, vocabulary]
  size_t next_ = 0;          // row
  double draft_s_ = 0, verify_s_ = 0;
};

}  // namespace geist::engine
