#include "engine/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/memory.h"

namespace geist::engine {
namespace {

// Rows of a pass that wants many of them stay below this; chunking changes no bits.
constexpr int64_t kRowBytesMax = int64_t{64} << 20;
// Smaller requests are not worth a look at /proc/meminfo.
constexpr uint64_t kAdmissionCheckBytes = uint64_t{64} << 20;

int32_t context_limit(const model::Config& config, const SessionOptions& options) {
  int32_t limit = options.context_max > 0 ? options.context_max : config.context_length;
  if (config.position_limit > 0) limit = std::min(limit, config.position_limit);
  return limit;
}

// What a session of so many tokens holds at most.
uint64_t kv_bytes_for(const model::Config& config, model::KvType type, int64_t tokens) {
  return model::kv_bytes_planned(config, type, tokens, PassOptions().tokens_max + kRewindTokens);
}

}  // namespace

Session::Session(const model::Model& model, const SessionOptions& options)
    : model_(&model),
      context_max_(context_limit(model.config(), options)),
      adapters_(options.adapters) {}

uint64_t Session::kv_bytes() const { return model::kv_bytes(model_->config(), sequence_); }

Status Session::append(std::span<const TokenId> tokens, uint32_t label) {
  const int32_t vocab_size = model_->config().vocab_size;
  for (const TokenId id : tokens) {
    if (id < 0 || id >= vocab_size) {
      return errorf("token %d is not in the model's vocabulary of %d", id, vocab_size);
    }
  }
  const int64_t total = int64_t{length()} + static_cast<int64_t>(tokens.size());
  if (total > context_max_) {
    return errorf(
        "%lld tokens do not fit into a context of %d; shorten the text or enlarge the context",
        static_cast<long long>(total), context_max_);
  }
  const uint64_t planned = kv_bytes_for(model_->config(), sequence_.kv_type, total);
  const uint64_t bytes = planned - std::min(planned, kv_bytes());
  if (bytes >= kAdmissionCheckBytes) {
    const uint64_t available = available_memory_bytes();
    if (available > 0 && bytes > available) {
      return errorf(
          "%lld tokens would need %llu MB for keys and values; %llu MB of memory are free",
          static_cast<long long>(total), static_cast<unsigned long long>(bytes >> 20),
          static_cast<unsigned long long>(available >> 20));
    }
  }
  if (tokens.empty()) return {};
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  labels_.insert(labels_.end(), tokens.size(), label);
  logits_.clear();
  return {};
}

void Session::truncate(int32_t new_length) {
  GEIST_CHECK(new_length >= 0 && new_length <= length());
  if (new_length == length()) return;
  logits_.clear();
  tokens_.resize(static_cast<size_t>(new_length));
  if (new_length >= sequence_.length) {
    labels_.resize(static_cast<size_t>(new_length - sequence_.length));
    return;
  }
  const model::Config& config = model_->config();
  const int32_t usable = model::usable_length(config, sequence_, new_length);
  labels_.clear();
  for (const auto& page : sequence_.pages) {  // what must be computed again keeps its labels
    const int32_t begin = std::max(page->first_pos, usable);
    const int32_t end = std::min(page->first_pos + page->count, new_length);
    if (begin < end) labels_.insert(labels_.end(), static_cast<size_t>(end - begin), page->label);
  }
  model::truncate(config, sequence_, usable);
}

struct Runner::Share {
  Session* session;
  int32_t first_pos, count;
  int32_t rows;  // the last `rows` of the tokens have one
};

Runner::Runner(const model::Model& model, ThreadPool& pool)
    : model_(&model), pool_(&pool), workspace_(model::Model::make_workspace()) {}

// Reserves room for the next `count` pending tokens of a session (model::reserve copies an open
// page that a fork holds too) and puts them into the batch.
void Runner::take(Session& session, int32_t count, const PassOptions& options) {
  model::Sequence& sequence = session.sequence_;
  const int32_t first = sequence.length;
  for (int32_t i = 0; i < count;) {  // runs of one label
    int32_t run = 1;
    while (i + run < count && session.labels_[size_t(i + run)] == session.labels_[size_t(i)]) ++run;
    model::reserve(model_->config(), sequence, run, session.labels_[size_t(i)]);
    i += run;
  }
  session.labels_.erase(session.labels_.begin(), session.labels_.begin() + count);
  for (int32_t i = 0; i < count; ++i) {
    const int32_t position = first + i;
    const bool last = position + 1 == session.length();
    batch_.push_back({.id = session.tokens_[static_cast<size_t>(position)],
                      .sequence = &sequence,
                      .pos = position,
                      .want_output = options.on_row ? position >= options.row_from : last,
                      .adapters = session.adapters_.get()});
  }
}

void Runner::deliver(const Share& share, const float* rows, const PassOptions& options) {
  const model::Config& config = model_->config();
  const bool logits = options.output == model::Output::kLogits;
  const auto width = static_cast<size_t>(logits ? config.vocab_size : config.embedding_length);
  if (options.on_row) {
    for (int32_t i = 0; i < share.rows; ++i) {
      options.on_row(*share.session, share.first_pos + share.count - share.rows + i,
                     {rows + static_cast<size_t>(i) * width, width});
    }
  }
  if (logits && share.rows > 0 && share.session->pending() == 0) {
    const float* last = rows + static_cast<size_t>(share.rows - 1) * width;
    share.session->logits_.assign(last, last + width);
  }
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
  std::vector<Share> shares;
  int64_t row_count = 0;
  for (Session* session : sessions) {
    const auto count = static_cast<int32_t>(std::min<int64_t>(session->pending(), room));
    if (count == 0) continue;
    // A model that looks both ways sees a whole sequence at once.
    GEIST_CHECK(config.causal || count == session->length());
    const size_t begin = batch_.size();
    const int32_t first = session->sequence_.length;
    take(*session, count, options);
    const auto rows = static_cast<int32_t>(
        std::count_if(batch_.begin() + static_cast<std::ptrdiff_t>(begin), batch_.end(),
                      [](const model::BatchToken& token) { return token.want_output; }));
    shares.push_back({session, first, count, rows});
    row_count += rows;
    room -= count;
  }
  if (batch_.empty()) return 0;
  rows_.resize(static_cast<size_t>(row_count * width));
  model_->forward(batch_, options.output, *workspace_, *pool_, rows_.data());
  const float* rows = rows_.data();
  for (const Share& share : shares) {
    model::Sequence& sequence = share.session->sequence_;
    model::drop_expired(config, sequence, std::max(0, sequence.length - kRewindTokens));
    deliver(share, rows, options);
    rows += int64_t{share.rows} * width;
  }
  return static_cast<int32_t>(batch_.size());
}

}  // namespace geist::engine
