// Sessions: the timelines of a model.
//
//   engine::Session session(model, {});                    // empty
//   session.append(tokens);                                // queued, nothing computed yet
//   engine::Runner runner(model, pool);
//   while (session.pending() > 0) runner.pass(session);    // prefill, 512 tokens a pass
//   session.logits();                                      // what comes next: for a Sampler
//   engine::Session other = session.fork();                // shares all pages so far
//
// A Session holds tokens and the pages of their keys and values; it computes nothing. A Runner
// makes forward passes for one or many sessions at a time: since a token's logits do not depend on
// what else is in a pass, the caller may schedule as it likes, stop between passes, and never
// changes a bit of any answer.
//
// Pages (model/page.h) hold kernels::kPageTokens tokens. A full page is immutable and shared by
// forks; the open one at the end is copied before it is written when someone else holds it too.
// After each pass the keys and values of sliding-window layers that no later token sees are given
// up, but for those that going back by kRewindTokens needs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "model/lora.h"
#include "model/model.h"

namespace geist::engine {

using text::TokenId;

// A session goes back this far without computing a token twice, whatever the model's windows.
inline constexpr int32_t kRewindTokens = 128;

struct SessionOptions {
  int32_t context_max = 0;  // tokens this session may hold; 0: what the model was trained for
  // Applied to all its tokens; null: none. Sessions that share pages share their set.
  std::shared_ptr<const model::AdapterSet> adapters = nullptr;
};

// One timeline. Not thread-safe; different sessions may be used from different threads, forks
// included.
class Session {
 public:
  Session(const model::Model& model, const SessionOptions& options);
  Session(Session&&) noexcept = default;
  Session& operator=(Session&&) noexcept = default;

  // The same timeline twice: O(pages) pointers and the tokens are copied, no keys or values.
  Session fork() const { return Session(*this); }

  // Queues tokens at the end. Fails, changing nothing, when the context or the memory would not
  // hold them.
  Status append(std::span<const TokenId> tokens, uint32_t label = 0);
  Status append(TokenId token) { return append({&token, 1}); }

  // Goes back to the first `length` tokens (0 <= length <= length()), dropping the rest. Where the
  // model has sliding windows and this goes back further than kRewindTokens, keys and values that
  // it needs may be gone: then tokens are pending again.
  void truncate(int32_t length);

  std::span<const TokenId> tokens() const { return tokens_; }
  int32_t length() const { return static_cast<int32_t>(tokens_.size()); }
  int32_t pending() const { return length() - sequence_.length; }  // tokens not yet computed
  int32_t context_max() const { return context_max_; }
  const model::AdapterSet* adapters() const { return adapters_.get(); }  // null: none
  uint64_t kv_bytes() const;  // held now: of all pages, shared ones included

  // The logits after the last token, [vocab]. Empty while tokens are pending, and in an empty
  // session.
  std::span<const float> logits() const { return logits_; }

 private:
  friend class Runner;
  Session(const Session&) = default;

  const model::Model* model_;
  int32_t context_max_;
  std::shared_ptr<const model::AdapterSet> adapters_;
  std::vector<TokenId> tokens_;
  std::vector<uint32_t> labels_;  // of pending tokens only
  model::Sequence sequence_;      // of computed tokens
  std::vector<float> logits_;
};

struct PassOptions {
  int32_t tokens_max = 512;  // of all sessions together; the first ones are served first
  model::Output output = model::Output::kLogits;
  // Called in order with the row of each token at position row_from or later; without it only a
  // session's last pending token gets a row, which becomes logits().
  std::function<void(const Session& session, int32_t position, std::span<const float> row)> on_row =
      {};
  int32_t row_from = 0;
};

// Makes forward passes. One pass at a time; owns the scratch memory that passes share.
class Runner {
 public:
  Runner(const model::Model& model, ThreadPool& pool);

  // Computes up to tokens_max pending tokens, in one forward pass over all sessions. Returns how
  // many.
  int32_t pass(std::span<Session* const> sessions, const PassOptions& options = {});
  int32_t pass(Session& session, const PassOptions& options = {}) {
    Session* const one = &session;
    return pass({&one, 1}, options);
  }

  const model::Model& model() const { return *model_; }

 private:
  struct Share;  // a session's part of a pass
  void take(Session& session, int32_t count, const PassOptions& options);
  void deliver(const Share& share, const float* rows, const PassOptions& options);

  const model::Model* model_;
  ThreadPool* pool_;
  model::WorkspacePtr workspace_;
  std::vector<model::BatchToken> batch_;  // scratch
  std::vector<float> rows_;               // scratch
};

}  // namespace geist::engine
