// The passes of session.h: which tokens of which sessions a pass computes, and what becomes of the
// pages that it filled.
#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "base/check.h"
#include "engine/page_bytes.h"
#include "engine/session.h"

namespace geist::engine {
namespace {

// Rows of a pass that wants many of them stay below this; chunking changes no bits.
constexpr int64_t kRowBytesMax = int64_t{64} << 20;
// Passes of fewer tokens say little about what prefill costs.
constexpr size_t kMeasuredTokensMin = 16;

// After so many that do not fit, no more are tried: each costs a look at all pages.
constexpr int32_t kRefusedMax = 16;

using Clock = std::chrono::steady_clock;

}  // namespace

struct Runner::Share {
  Session* session;
  int32_t first_pos = 0, count = 0;
  bool computed = false;
  int32_t rows = 0;  // the last `rows` of the tokens have one
  Memory::Hold hold = {};
  model::Sequence sequence = {};
  std::vector<PageNodePtr> filled = {};  // nodes with new tokens, in order
};

Runner::Runner(const model::Model& model, ThreadPool& pool)
    : model_(&model), pool_(&pool), workspace_(model::Model::make_workspace()) {}

Runner::~Runner() = default;

// Whether a session that joined before computes the page that this one would compute next.
bool Runner::is_computed_now(const Memory::Hold& hold) const {
  return hold.next.has_value() &&
         std::any_of(shares_.begin(), shares_.end() - 1,
                     [&](const Share& share) { return share.hold.next == hold.next; });
}

// Adds a session to the pass with up to `room` of its tokens, unless there is no room in memory for
// it now, or another one computes what it needs.
bool Runner::join(Session& session, int32_t room, const PassOptions& options,
                  Memory::PassState& pass) {
  Share& share = shares_.emplace_back(Share{.session = &session});
  if (session.memory_ != nullptr) {
    // Tokens whose rows are wanted are computed; the last one always, for its logits.
    int32_t adopt_end = session.length() - 1;
    if (options.on_row)
      adopt_end = std::min(adopt_end, std::max(options.row_from, session.row_from_));
    const bool first = shares_.size() == 1;
    if (!session.memory_->hold(session, room, adopt_end, first, pass, share.hold)) {
      shares_.pop_back();
      ++pass.refused;
      return false;
    }
    if (is_computed_now(share.hold)) {
      session.memory_->release(share.hold);
      shares_.pop_back();
      return false;
    }
  }
  share.count = std::min(session.pending(), session.memory_ != nullptr ? share.hold.count : room);
  share.first_pos = session.computed();
  // A model that looks both ways sees a whole sequence at once.
  GEIST_CHECK(model_->config().causal || share.count == session.length());
  extend(share);
  queue(share, options);
  return true;
}

// Moves the next tokens out of the queue into nodes and reserves their slots.
void Runner::extend(Share& share) {
  Session& session = *share.session;
  const int32_t pages = session.tail_ ? session.tail_->index + 1 : 0;
  share.sequence.pages.resize(static_cast<size_t>(pages));
  share.sequence.length = share.first_pos;
  share.sequence.kv_type = session.kv_type_;
  if (session.memory_ != nullptr) {
    share.sequence.pages = std::exchange(share.hold.pages, {});
  } else {
    for (const PageNode* node = session.tail_.get(); node != nullptr; node = node->parent.get())
      share.sequence.pages[static_cast<size_t>(node->index)] = node->page;
  }
  for (int32_t i = 0; i < share.count;) {  // runs of one label
    const uint32_t label = session.pending_.front().label;
    const auto end =
        std::find_if(session.pending_.begin(), session.pending_.begin() + (share.count - i),
                     [&](const auto& queued) { return queued.label != label; });
    const auto run = static_cast<int32_t>(end - session.pending_.begin());
    extend_run(share, run, label);
    i += run;
  }
}

void Runner::extend_run(Share& share, int32_t run, uint32_t label) {
  Session& session = *share.session;
  model::Sequence& sequence = share.sequence;
  if (session.tail_ && session.tail_->takes(label)) {
    if (session.tail_->frozen()) {
      const PageNode& old = *session.tail_;
      old.mark_parent();
      auto own = std::make_shared<PageNode>(old.parent, old.first_pos, old.label);
      own->tokens = old.tokens;
      sequence.pages.back() = std::make_shared<model::Page>(*old.page);  // reserve() copies
      own->charge = share.hold.reserved.split(page_bytes(session.layout()));
      session.tail_ = std::move(own);
    }
    session.tail_->page.reset();  // the sequence alone holds it while it is extended
    if (share.filled.empty() || share.filled.back() != session.tail_)
      share.filled.push_back(session.tail_);
  }
  model::reserve(model_->config(), sequence, run, label);
  while (run > 0) {
    if (!session.tail_ || !session.tail_->takes(label)) {
      session.tail_ = std::make_shared<PageNode>(session.tail_, session.computed(), label);
      session.tail_->charge = share.hold.reserved.split(page_bytes(session.layout()));
      share.filled.push_back(session.tail_);
    }
    PageNode& node = *session.tail_;
    node.page = sequence.pages[static_cast<size_t>(node.index)];
    for (; run > 0 && !node.full(); --run) {
      node.tokens.push_back(session.pending_.front().id);
      session.pending_.pop_front();
    }
  }
}

void Runner::queue(Share& share, const PassOptions& options) {
  Session& session = *share.session;
  const int32_t row_from = std::max(options.row_from, session.row_from_);
  for (const PageNodePtr& node : share.filled) {
    for (int32_t position = std::max(node->first_pos, share.first_pos); position < node->end();
         ++position) {
      const bool last = position + 1 == session.length();
      const bool wanted = options.on_row ? position >= row_from : last;
      batch_.push_back({.id = node->tokens[static_cast<size_t>(position - node->first_pos)],
                        .sequence = &share.sequence,
                        .pos = position,
                        .visible_labels = session.visible_to(node->label),
                        .want_output = wanted,
                        .adapters = session.adapters_.get()});
      share.rows += wanted ? 1 : 0;
    }
  }
}

void Runner::deliver(Share& share, const float* rows, const PassOptions& options) {
  const model::Config& config = model_->config();
  Session& session = *share.session;
  const bool logits = options.output == model::Output::kLogits;
  const auto width = static_cast<size_t>(logits ? config.vocab_size : config.embedding_length);
  session.row_from_ = std::max(session.row_from_, share.first_pos + share.count);
  if (options.on_row) {
    for (int32_t i = 0; i < share.rows; ++i) {
      options.on_row(session, share.first_pos + share.count - share.rows + i,
                     {rows + static_cast<size_t>(i) * width, width});
    }
  }
  if (logits && share.rows > 0 && session.pending() == 0) {
    const float* last = rows + static_cast<size_t>(share.rows - 1) * width;
    session.logits_ = std::make_shared<const std::vector<float>>(last, last + width);
  }
}

// Hands the filled pages to the session's memory.
void Runner::finish(Share& share) {
  Session& session = *share.session;
  share.sequence.pages.clear();
  if (session.memory_ == nullptr) {
    share.filled.clear();
    return session.drop_expired();
  }
  session.tail_ = session.memory_->publish(session.root_, share.filled);
  session.memory_->release(share.hold);
}

void Runner::measure(double seconds) {
  if (batch_.size() < kMeasuredTokensMin) return;
  double depth_sum = 0;
  for (const model::BatchToken& token : batch_) depth_sum += token.pos;
  for (const Share& share : shares_) {
    if (share.session->memory_ == nullptr) continue;
    share.session->memory_->measure(static_cast<int64_t>(batch_.size()), depth_sum, seconds);
    break;
  }
}

// What is left when a pass ends early: where it computed nothing the tokens wait again.
void Runner::abandon() {
  for (Share& share : shares_) {
    share.sequence.pages.clear();
    if (share.computed) {
      finish(share);
      continue;
    }
    if (!share.filled.empty()) share.session->give_up(share.filled.front());
    if (share.session->memory_ != nullptr) share.session->memory_->release(share.hold);
  }
  shares_.clear();
}

int32_t Runner::pass(std::span<Session* const> sessions, const PassOptions& options) {
  const model::Config& config = model_->config();
  const bool logits = options.output == model::Output::kLogits;
  const int64_t width = logits ? config.vocab_size : config.embedding_length;
  int64_t room = std::max(options.tokens_max, 1);
  if (options.on_row && config.causal) {
    room = std::min(room, std::max<int64_t>(kRowBytesMax / (width * int64_t{sizeof(float)}), 1));
  }
  batch_.clear();
  // A callback may throw, and memory may run out.
  const std::unique_ptr<Runner, void (*)(Runner*)> ends(this,
                                                        [](Runner* self) { self->abandon(); });
  Memory::PassState pass{.read_s = options.read_s_max};
  for (Session* session : sessions) {
    if (session->pending() == 0) continue;
    if (room == 0 || pass.refused == kRefusedMax) break;
    const int64_t most = session == sessions.front() ? options.first_tokens_max : room;
    if (join(*session, static_cast<int32_t>(std::min(room, most)), options, pass))
      room -= shares_.back().count;
  }
  if (shares_.empty()) return 0;
  int64_t row_count = 0;
  for (const Share& share : shares_) row_count += share.rows;
  rows_.resize(static_cast<size_t>(row_count * width));
  const auto begin = Clock::now();
  model_->forward(batch_, options.output, *workspace_, *pool_, rows_.data());
  measure(std::chrono::duration<double>(Clock::now() - begin).count());
  for (Share& share : shares_) share.computed = true;
  const float* rows = rows_.data();
  for (; !shares_.empty(); shares_.pop_front()) {
    deliver(shares_.front(), rows, options);
    rows += int64_t{shares_.front().rows} * width;
    finish(shares_.front());
  }
  return static_cast<int32_t>(batch_.size());
}

}  // namespace geist::engine
