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
// forks; the open one at the end is copied before it is written when a fork holds it too. With a
// Memory (memory.h) pages are also shared by sessions that begin alike, and may be evicted and come
// back; pending() then counts again the tokens whose pages were lost. Keys and values of
// sliding-window layers that no later token sees are given up after each pass (with a Memory: when
// it needs the room), but for those that going back by kRewindTokens needs.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "engine/memory.h"
#include "engine/page_node.h"
#include "model/lora.h"
#include "model/model.h"

namespace geist::engine {

using text::TokenId;

// A session goes back this far without computing a token twice, whatever the model's windows.
inline constexpr int32_t kRewindTokens = 128;

struct SessionOptions {
  int32_t context_max = 0;  // tokens this session may hold; 0: what the model was trained for
  model::KvType kv_type =
      model::KvType::kF32;  // of its keys and values; with a memory: the memory's
  // Applied to all its tokens; null: none. Sessions with different sets never share a page.
  std::shared_ptr<const model::AdapterSet> adapters = nullptr;
  Memory* memory = nullptr;  // null: pages of its own, in memory until it ends
  std::string domain = {};   // sessions of different domains never share a page
  // What the tokens of each label may attend to; every label sees itself. Null: all see all. A part
  // of pages' names: sessions of different visibility never share a page.
  std::shared_ptr<const model::LabelVisibility> visibility = nullptr;
};

// One timeline. Not thread-safe; different sessions may be used from different threads, forks
// included.
class Session {
 public:
  Session(const model::Model& model, const SessionOptions& options);
  Session(Session&&) noexcept = default;
  Session& operator=(Session&&) noexcept = default;

  // The same timeline twice. Constant time: a pointer to the last page is copied (and what is
  // pending).
  Session fork() const;

  // Queues tokens at the end. Fails, changing nothing, when the context or the memory would not
  // hold them.
  Status append(std::span<const TokenId> tokens, uint32_t label = 0);
  Status append(TokenId token) { return append({&token, 1}); }

  // Goes back to the first `length` tokens (0 <= length <= length()), dropping the rest. Where the
  // model has sliding windows and this goes back further than kRewindTokens, keys and values that
  // it needs may be gone: then tokens are pending again.
  void truncate(int32_t length);

  // All tokens. The list is put together from the pages when it is first asked for.
  std::span<const TokenId> tokens() const;
  int32_t length() const { return computed() + pending(); }
  int32_t pending() const { return static_cast<int32_t>(pending_.size()); }  // not yet computed
  int32_t context_max() const { return context_max_; }
  const Memory* memory() const { return memory_; }                       // null: none
  const model::AdapterSet* adapters() const { return adapters_.get(); }  // null: none
  uint64_t kv_bytes() const;  // held now: of all pages, shared ones included

  // The logits after the last token, [vocab]. Empty while tokens are pending, and in an empty
  // session.
  std::span<const float> logits() const {
    return logits_ ? std::span<const float>(*logits_) : std::span<const float>();
  }

 private:
  friend class Memory;
  friend class Runner;
  struct Queued {
    TokenId id;
    uint32_t label;
  };
  Session(const Session&) = default;

  int32_t computed() const { return tail_ ? tail_->end() : 0; }
  uint64_t pages_with(size_t count) const;  // pages once the first `count` of pending_ are computed
  uint64_t window_pages(uint64_t pages) const;
  uint64_t bytes_planned() const;  // that it and its pending tokens come to need at once
  void cut(int32_t length);        // of computed tokens
  void step_back();
  void give_up(const PageNodePtr& node);  // makes the tokens from this page on pending again
  void take_page(PageNodePtr node);       // instead of computing the tokens it adds
  void settle();                          // gives up what cannot be computed on (no Memory)
  void drop_expired();                    // after a pass (no Memory)
  // Gives up pages from the first that is not `here`, which may make others needed, and so on.
  template <typename Here>
  void roll_back(const Here& here);
  uint64_t visible_to(uint32_t label) const {
    return visibility_ ? (*visibility_)[label] : ~uint64_t{0};
  }
  const model::KvLayout& layout() const { return model_->config().kv_layout(kv_type_); }

  const model::Model* model_;
  Memory* memory_;
  model::KvType kv_type_;
  PageName root_{};
  int32_t context_max_;
  std::shared_ptr<const model::AdapterSet> adapters_;
  std::shared_ptr<const model::LabelVisibility> visibility_;
  PageNodePtr tail_;  // the last page; null: nothing is computed
  std::deque<Queued> pending_;
  int32_t row_from_ = 0;  // rows before it were delivered once (tokens may be computed again)
  std::shared_ptr<const std::vector<float>> logits_;
  Memory::Claim claim_;
  mutable std::vector<TokenId> tokens_;  // the first of tokens(), as far as they were asked for
};

template <typename Here>
void Session::roll_back(const Here& here) {
  for (;;) {
    PageNodePtr lost;
    for (PageNodePtr node = tail_; node; node = node->parent)
      if (!here(*node, computed())) lost = node;
    if (!lost) return;
    give_up(lost);
  }
}

struct PassOptions {
  int32_t tokens_max = 512;  // of all sessions together; the first ones are served first
  int32_t first_tokens_max = INT32_MAX;  // of these, of the first session
  // For reading pages from stores, all sessions together, by the rate so far. A session that lacks
  // more reads on in the next passes, a page at least, and computes nothing meanwhile.
  double read_s_max = std::numeric_limits<double>::infinity();
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
  ~Runner();

  // Computes up to tokens_max pending tokens, in one forward pass over all sessions that fit into
  // memory together; one that does not fit beside those before it, with all that it has pending, is
  // passed over. Returns how many (0: nothing is pending, or it all waits for pages to be read).
  // pending() may fall by more, where pages were there already. A session whose next page another
  // one computes in this pass waits for it.
  int32_t pass(std::span<Session* const> sessions, const PassOptions& options = {});
  int32_t pass(Session& session, const PassOptions& options = {}) {
    Session* const one = &session;
    return pass({&one, 1}, options);
  }

  const model::Model& model() const { return *model_; }

 private:
  struct Share;  // a session's part of a pass
  bool join(Session& session, int32_t room, const PassOptions& options, Memory::PassState& pass);
  bool is_computed_now(const Memory::Hold& hold) const;
  void extend(Share& share);
  void extend_run(Share& share, int32_t run, uint32_t label);
  void queue(Share& share, const PassOptions& options);
  void deliver(Share& share, const float* rows, const PassOptions& options);
  void finish(Share& share);
  void abandon();
  void measure(double seconds);

  const model::Model* model_;
  ThreadPool* pool_;
  model::WorkspacePtr workspace_;
  std::vector<model::BatchToken> batch_;  // scratch
  std::vector<float> rows_;               // scratch
  std::deque<Share> shares_;              // of the pass at hand
};

}  // namespace geist::engine
