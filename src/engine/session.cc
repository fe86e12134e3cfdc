#include "engine/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/memory.h"
#include "engine/page_bytes.h"

namespace geist::engine {
namespace {

// Smaller requests are not worth a look at /proc/meminfo.
constexpr uint64_t kAdmissionCheckBytes = uint64_t{64} << 20;

int32_t context_limit(const model::Config& config, const SessionOptions& options) {
  int32_t limit = options.context_max > 0 ? options.context_max : config.context_length;
  if (config.position_limit > 0) limit = std::min(limit, config.position_limit);
  return limit;
}

// Without a Memory: whether the machine has room for this many more pages.
Status check_machine(uint64_t bytes, int64_t tokens) {
  if (bytes < kAdmissionCheckBytes) return {};
  const uint64_t available = available_memory_bytes();
  if (available == 0 || bytes <= available) return {};
  return errorf("%lld tokens would need %llu MB for keys and values; %llu MB of memory are free",
                static_cast<long long>(tokens), static_cast<unsigned long long>(bytes >> 20),
                static_cast<unsigned long long>(available >> 20));
}

}  // namespace

// A model that looks both ways computes a sequence whole: its pages are nobody else's prefix.
Session::Session(const model::Model& model, const SessionOptions& options)
    : model_(&model),
      memory_(model.config().causal ? options.memory : nullptr),
      kv_type_(memory_ != nullptr ? memory_->kv_type() : options.kv_type),
      context_max_(context_limit(model.config(), options)),
      adapters_(options.adapters),
      visibility_(options.visibility),
      claim_(memory_) {
  GEIST_CHECK(memory_ == nullptr || memory_->model_ == model_);
  for (uint32_t label = 0; label < model::kLabelCount; ++label)
    GEIST_CHECK((visible_to(label) >> label & 1) != 0);  // or a token would attend to nothing
  if (memory_ != nullptr) root_ = memory_->root(adapters_.get(), options.domain, visibility_.get());
}

Session Session::fork() const {
  if (tail_) tail_->shared.store(true);
  std::vector<TokenId> listed = std::move(tokens_);  // not copied
  Session copy(*this);
  tokens_ = std::move(listed);
  return copy;
}

uint64_t Session::kv_bytes() const {
  const Memory::Lock lock = memory_ != nullptr ? Memory::Lock(memory_->mutex_) : Memory::Lock();
  uint64_t bytes = 0;
  for (const PageNode* node = tail_.get(); node != nullptr; node = node->parent.get()) {
    if (!node->page) continue;
    if (node->page->full) bytes += static_cast<uint64_t>(layout().full_bytes);
    if (node->page->window) bytes += static_cast<uint64_t>(layout().window_bytes);
  }
  return bytes;
}

uint64_t Session::pages_with(size_t count) const {
  uint64_t pages = tail_ ? static_cast<uint64_t>(tail_->index) + 1 : 0;
  size_t room = tail_ && !tail_->full() ? size_t{kernels::kPageTokens} - tail_->tokens.size() : 0;
  uint32_t label = tail_ ? tail_->label : 0;
  for (size_t i = 0; i < count; ++i) {
    if (room == 0 || pending_[i].label != label) {
      ++pages;
      room = kernels::kPageTokens;
      label = pending_[i].label;
    }
    --room;
  }
  return pages;
}

// The most pages whose window parts exist at the same time. Pages that labels closed early hold
// fewer tokens, so that more of them lie in a window.
uint64_t Session::window_pages(uint64_t pages) const {
  const model::Config& config = model_->config();
  if (!config.causal || layout().window_bytes == 0 || length() <= live_tokens(config)) return pages;
  if (pages == static_cast<uint64_t>((length() + kernels::kPageTokens - 1) / kernels::kPageTokens))
    return static_cast<uint64_t>((live_tokens(config) + kernels::kPageTokens - 1) /
                                 kernels::kPageTokens);
  std::vector<int64_t> begins(pages);
  for (const PageNode* node = tail_.get(); node != nullptr; node = node->parent.get())
    begins[static_cast<size_t>(node->index)] = node->first_pos;
  size_t known = tail_ ? static_cast<size_t>(tail_->index) + 1 : 0;
  size_t room = tail_ ? size_t{kernels::kPageTokens} - tail_->tokens.size() : 0;
  uint32_t label = tail_ ? tail_->label : 0;
  for (size_t i = 0; i < pending_.size(); ++i, --room) {
    if (room > 0 && pending_[i].label == label) continue;
    begins[known++] = computed() + static_cast<int64_t>(i);
    room = kernels::kPageTokens;
    label = pending_[i].label;
  }
  size_t most = 0;
  for (size_t first = 0, end = 0; end < known; most = std::max(most, end - first)) {
    while (begins[end] - begins[first] >= live_tokens(config)) ++first;
    ++end;
  }
  return most;
}

uint64_t Session::bytes_planned() const {
  const uint64_t pages = pages_with(pending_.size());
  return session_bytes(layout(), pages, window_pages(pages));
}

Status Session::append(std::span<const TokenId> tokens, uint32_t label) {
  const int32_t vocab_size = model_->config().vocab_size;
  for (const TokenId id : tokens) {
    if (id < 0 || id >= vocab_size) {
      return errorf("token %d is not in the model's vocabulary of %d", id, vocab_size);
    }
  }
  // Another number would stand for one of these in the attention mask.
  if (label >= model::kLabelCount)
    return errorf("label %u is none: labels are 0 to %u", label, model::kLabelCount - 1);
  const int64_t total = int64_t{length()} + static_cast<int64_t>(tokens.size());
  if (total > context_max_) {
    return errorf(
        "%lld tokens do not fit into a context of %d; shorten the text or enlarge the context",
        static_cast<long long>(total), context_max_);
  }
  if (tokens.empty()) return {};
  const size_t before = pending_.size();
  for (const TokenId id : tokens) pending_.push_back({id, label});
  const uint64_t bytes = bytes_planned();
  const Status status = memory_ != nullptr
                            ? memory_->admit(*this, bytes, total)
                            : check_machine(bytes - std::min(bytes, kv_bytes()), total);
  if (!status.ok()) {
    pending_.resize(before);
    return status;
  }
  claim_.set(bytes);
  logits_.reset();
  return {};
}

void Session::truncate(int32_t new_length) {
  GEIST_CHECK(new_length >= 0 && new_length <= length());
  if (new_length == length()) return;
  logits_.reset();
  row_from_ = std::min(row_from_, new_length);
  tokens_.resize(std::min(tokens_.size(), static_cast<size_t>(new_length)));
  if (new_length < computed()) {
    pending_.clear();
    cut(new_length);
    if (memory_ == nullptr) settle();
  } else {
    pending_.resize(static_cast<size_t>(new_length - computed()));
  }
  claim_.set(length() == 0 ? 0 : bytes_planned());
}

void Session::cut(int32_t new_length) {
  while (tail_ && tail_->first_pos >= new_length) step_back();
  if (!tail_ || tail_->end() == new_length) return;
  const auto kept = static_cast<size_t>(new_length - tail_->first_pos);
  Memory::Lock lock = memory_ != nullptr ? Memory::Lock(memory_->mutex_) : Memory::Lock();
  const bool copies = memory_ != nullptr && tail_->frozen();
  if (!tail_->page || !is_whole(layout(), *tail_->page) ||
      (copies && !memory_->make_room_for_copy(lock, *tail_))) {
    give_up(tail_);
    pending_.resize(kept);
    return;
  }
  if (tail_->frozen()) {
    tail_->mark_parent();
    auto own = std::make_shared<PageNode>(tail_->parent, tail_->first_pos, tail_->label);
    own->tokens = tail_->tokens;
    own->page = std::make_shared<model::Page>(*tail_->page);  // copied when it is cleared, below
    if (memory_ != nullptr) {
      own->charge = memory_->charge_page();
      memory_->list_open(own);
    }
    tail_ = std::move(own);
  }
  tail_->tokens.resize(kept);
  model::Sequence sequence{
      .pages = {}, .length = tail_->page->first_pos + tail_->page->count, .kv_type = kv_type_};
  sequence.pages.push_back(std::move(tail_->page));
  model::truncate(model_->config(), sequence, new_length);
  tail_->page = std::move(sequence.pages.back());
}

void Session::settle() {
  roll_back([&](const PageNode& node, int32_t next_pos) {
    return serves(model_->config(), *node.page, next_pos);
  });
}

// Only of pages that no other session holds: they stand at the end of the timeline. Who holds them
// now is asked, not who ever did, so that what forks leave behind is given up too.
void Session::drop_expired() {
  if (!model_->config().causal || layout().window_bytes == 0) return;
  const int32_t next_pos = std::max(0, computed() - kRewindTokens);
  for (PageNodePtr* node = &tail_; *node && node->use_count() == 1; node = &(*node)->parent) {
    // use_count() orders nothing: giving up a reference comes after what a former holder read.
    PageNodePtr(*node).reset();
    std::shared_ptr<model::Page>& page = (*node)->page;
    if (page->window == nullptr || !expired(model_->config(), *page, next_pos)) continue;
    page = std::make_shared<model::Page>(*page);  // other nodes may share the header
    page->window = nullptr;
  }
}

void Session::give_up(const PageNodePtr& node) {
  const PageNodePtr first = node;
  while (tail_ != first->parent) {
    for (auto id = tail_->tokens.rbegin(); id != tail_->tokens.rend(); ++id)
      pending_.push_front({*id, tail_->label});
    step_back();
  }
}

void Session::step_back() {
  tail_->mark_parent();
  tail_ = PageNodePtr(tail_->parent);
}

void Session::take_page(PageNodePtr node) {
  const int32_t added = node->end() - computed();
  pending_.erase(pending_.begin(), pending_.begin() + added);
  tail_ = std::move(node);
}

std::span<const TokenId> Session::tokens() const {
  const auto known = static_cast<int32_t>(tokens_.size());
  tokens_.resize(static_cast<size_t>(length()));
  for (const PageNode* node = tail_.get(); node != nullptr && node->end() > known;
       node = node->parent.get())
    std::copy(node->tokens.begin(), node->tokens.end(), tokens_.begin() + node->first_pos);
  std::transform(pending_.begin(), pending_.end(), tokens_.begin() + computed(),
                 [](const Queued& queued) { return queued.id; });
  return tokens_;
}

}  // namespace geist::engine
