// What a pass needs of a Memory, and what users ask of it. Which pages are evicted: eviction.cc.
#include "engine/memory.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/memory.h"
#include "engine/page_bytes.h"
#include "engine/session.h"
#include "model/lora.h"

namespace geist::engine {
namespace {

constexpr uint64_t kBudgetGuess = uint64_t{1} << 30;  // where free memory is not known

uint64_t budget_of(const MemoryOptions& options) {
  if (options.budget_bytes > 0) return options.budget_bytes;
  const uint64_t available = available_memory_bytes();
  return available > 0 ? available / 5 * 4 : kBudgetGuess;
}

double megabytes(uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

std::vector<PageNodePtr> chain_of(const PageNodePtr& tail) {
  std::vector<PageNodePtr> nodes;
  for (PageNodePtr node = tail; node; node = node->parent) nodes.push_back(node);
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace

Memory::Memory(const model::Model& model, const MemoryOptions& options)
    : model_(&model),
      store_(options.store),
      kv_type_(options.kv_type),
      budget_(budget_of(options)),
      page_bytes_(page_bytes(model.config().kv_layout(options.kv_type))) {
  // Pages of unknown weights must not meet those of another model in a store.
  GEIST_CHECK(store_ == nullptr || options.weights != Sha256Digest{});
  space_.weights = options.weights;
  space_.kv_type = static_cast<uint32_t>(kv_type_);
}

Memory::~Memory() = default;

PageName Memory::root(const model::AdapterSet* adapters, const std::string& domain,
                      const model::LabelVisibility* visibility) const {
  PageSpace space = space_;
  if (adapters != nullptr) space.adapters = adapters->hash();
  space.domain = domain;
  if (visibility != nullptr) space.visibility = *visibility;
  return root_name(space);
}

void Memory::Claim::set(uint64_t bytes) {
  if (memory_ == nullptr || bytes == bytes_) return;
  const Lock lock(memory_->mutex_);
  if (bytes_ > 0) memory_->claims_.erase(memory_->claims_.find(bytes_));
  if (bytes > 0) memory_->claims_.insert(bytes);
  bytes_ = bytes;
}

Status Memory::admit(const Session& session, uint64_t needed, int64_t tokens) {
  const Lock lock(mutex_);
  uint64_t free = budget_ - std::min(budget_, pinned_bytes_);
  if (const uint64_t own = pinned_bytes_ > 0 ? own_pinned_pages(session) : 0; own > 0) {
    free += own * page_bytes_;
    needed = with_pinned(session, needed, own);
  }
  if (needed <= free) return {};
  return errorf(
      "%lld tokens would need %.1f MB for keys and values; %.1f MB are free in the %.1f MB given "
      "to "
      "them (%.1f MB are pinned)",
      static_cast<long long>(tokens), megabytes(needed), megabytes(free), megabytes(budget_),
      megabytes(pinned_bytes_));
}

uint64_t Memory::own_pinned_pages(const Session& session) const {
  uint64_t pages = 0;
  for (const PageNode* node = session.tail_.get(); node != nullptr; node = node->parent.get())
    if (node->pins > 0) ++pages;
  return pages;
}

// What a session needs when so many of its pages are pinned: these keep their window parts.
uint64_t Memory::with_pinned(const Session& session, uint64_t needed, uint64_t pinned) const {
  const uint64_t pages = session.pages_with(session.pending_.size());
  return std::min(needed + pinned * static_cast<uint64_t>(layout().window_bytes),
                  session_bytes(layout(), pages, pages));
}

bool Memory::hold(Session& session, int32_t count, int32_t adopt_end, bool wait, PassState& pass,
                  Hold& out) {
  Lock lock(mutex_);
  for (;;) {
    roll_back(session);
    const int32_t computed = session.computed();
    out.next = adopt(session, adopt_end);
    // A page that was found may want a window before it that was dropped.
    const int32_t found = session.computed();
    roll_back(session);
    if (session.computed() < found) out.next.reset();
    stats_.tokens_shared += static_cast<uint64_t>(std::max(session.computed() - computed, 0));

    const uint64_t missing = grab(session, out);
    out.count = std::min(count, session.pending());
    const uint64_t to_read = missing / page_bytes_;
    const bool too_large = !wait && count > 0 && !fits_whole(session, out, missing, pass);
    if (too_large || (to_read > 0 && pass.read_s < 0)) {
      let_go(out);
      return false;
    }
    if (find_room(lock, session, missing, wait, out)) {
      const uint64_t needed = new_bytes(session, out.count);
      out.reserved = Charge(resident_, missing + needed);
      PageNodePtr lost;
      bool all = true;
      if (to_read > 0) {
        const double page_s = page_read_s();
        const double most = std::clamp(pass.read_s / page_s, 1.0, static_cast<double>(to_read));
        const auto pages = static_cast<uint64_t>(most);
        pass.read_s -= static_cast<double>(pages) * page_s;
        all = pages == to_read;
        lost = restore(lock, out, session.computed(), pages);
      }
      if (!lost && !all) {  // what was read is worth keeping until the rest is
        appraise(session.tail_);
        let_go(out);
        released_.notify_all();
        return false;
      }
      if (!lost) {
        for (const PageNodePtr& node : out.nodes) out.pages.push_back(node->page);
        pass.promised += new_bytes(session, session.pending()) - needed;
        return true;
      }
      // A page in the store was damaged or cannot be read: it is computed again, and so is all that
      // follows it, or what can never be read would be looked for for ever.
      let_go(out);
      released_.notify_all();
      adopt_end = std::min(adopt_end, lost->first_pos);
      stats_.pages_lost += static_cast<uint64_t>(session.tail_->index - lost->index + 1);
      session.give_up(lost);
      continue;
    }
    // Tells nobody: those who wait saw nothing of this attempt (where it let go of the lock, they
    // were told then), and two would wake each other for ever.
    let_go(out);
    if (!wait) return false;
    ++stats_.waits;
    released_.wait(lock);
  }
}

// Holds a session's pages; returns the bytes of those that must be read.
uint64_t Memory::grab(Session& session, Hold& hold) {
  hold.nodes = chain_of(session.tail_);
  ++holds_;
  hold.held = true;
  uint64_t missing = 0;
  for (const PageNodePtr& node : hold.nodes) {
    ++node->in_use;
    if (!is_resident(*node, session.computed())) missing += page_bytes_;
  }
  return missing;
}

// Of the pages that this many more tokens fill, and of a copy of the open page if it is shared.
uint64_t Memory::new_bytes(const Session& session, int32_t count) const {
  if (count == 0) return 0;
  const bool copies = session.tail_ && session.tail_->frozen() &&
                      session.tail_->takes(session.pending_.front().label);
  const uint64_t pages = session.pages_with(static_cast<size_t>(count)) - session.pages_with(0);
  return (pages + (copies ? 1 : 0)) * page_bytes_;
}

// Whether there will be room for all that a session has pending beside those that joined before it:
// one that ran out of room half way would have taken others' pages for nothing, and lose its own to
// them in the next pass. What fits into this pass is find_room's to say.
bool Memory::fits_whole(const Session& session, const Hold& hold, uint64_t missing,
                        const PassState& pass) {
  const uint64_t whole = new_bytes(session, session.pending());
  if (whole == new_bytes(session, hold.count) && pass.promised == 0) return true;
  const uint64_t needed = resident_->load() + missing + whole + pass.promised;
  if (needed <= budget_) return true;
  uint64_t freed = 0;
  for (const PageNodePtr& node : evictable_pages()) freed += node->charge.bytes();
  return needed <= budget_ + freed;
}

// Makes room for what a pass needs of a session. A session that is alone gets a smaller pass rather
// than none; one token fits (admission saw to it), and the last line keeps a fault in that
// reckoning from becoming a deadlock.
bool Memory::find_room(Lock& lock, const Session& session, uint64_t missing, bool wait,
                       Hold& hold) {
  const auto fits = [&] { return make_room(lock, missing + new_bytes(session, hold.count)); };
  if (fits()) return true;
  drop_expired(hold, std::max(0, session.computed() - kRewindTokens));
  while (!fits()) {
    if (!wait || holds_ > 1) return false;
    if (hold.count <= 1) return true;
    hold.count /= 2;
  }
  return true;
}

// Drops window parts that this session, the only one in a pass with them, sees no more.
void Memory::drop_expired(const Hold& hold, int32_t next_pos) {
  for (const PageNodePtr& node : hold.nodes) {
    if (node->in_use > 1 || node->pins > 0 || !node->page || !node->page->window) continue;
    if (!expired(model_->config(), *node->page, next_pos)) continue;
    auto header = std::make_shared<model::Page>(*node->page);
    header->window = nullptr;
    node->page = std::move(header);
    const Charge freed = node->charge.split(static_cast<uint64_t>(layout().window_bytes));
  }
}

void Memory::let_go(Hold& hold) {
  if (!std::exchange(hold.held, false)) return;
  for (const PageNodePtr& node : hold.nodes) --node->in_use;
  --holds_;
  hold.nodes.clear();
  hold.pages.clear();
  hold.reserved = {};
}

void Memory::release(Hold& hold) {
  const Lock lock(mutex_);
  let_go(hold);
  released_.notify_all();
}

// Gives up the pages from the first one on that is neither in memory nor in the store; those behind
// it are found again by name when the session comes to them.
void Memory::roll_back(Session& session) {
  const int32_t pages = session.tail_ ? session.tail_->index + 1 : 0;
  session.roll_back(
      [&](const PageNode& node, int32_t next_pos) { return is_here(node, next_pos); });
  stats_.pages_lost +=
      static_cast<uint64_t>(pages - (session.tail_ ? session.tail_->index + 1 : 0));
}

bool Memory::is_resident(const PageNode& node, int32_t next_pos) const {
  return node.page != nullptr && serves(model_->config(), *node.page, next_pos);
}

bool Memory::is_here(const PageNode& node, int32_t next_pos) const {
  return is_resident(node, next_pos) ||
         (store_ != nullptr && node.name.has_value() && store_->contains(*node.name));
}

// Returns the name of the page that is to be computed next, if it has one.
std::optional<PageName> Memory::adopt(Session& session, int32_t adopt_end) {
  while (session.pending() > 0) {
    const uint32_t label = session.pending_.front().label;
    const bool open = session.tail_ && session.tail_->takes(label);
    if (session.tail_ && !open) session.tail_ = complete(session.root_, session.tail_);
    const PageNodePtr before = open ? session.tail_->parent : session.tail_;
    std::vector<text::TokenId> tokens;
    if (open) tokens = session.tail_->tokens;
    size_t taken = 0;
    while (tokens.size() < size_t{kernels::kPageTokens} && taken < session.pending_.size() &&
           session.pending_[taken].label == label)
      tokens.push_back(session.pending_[taken++].id);
    // A page that ends with the queue may yet grow: it has no name.
    if (tokens.size() < size_t{kernels::kPageTokens} && taken == session.pending_.size())
      return std::nullopt;
    const PageName parent = before ? *before->name : session.root_;
    const PageName name = page_name(parent, before ? before->end() : 0, label, tokens);
    if (session.computed() + static_cast<int32_t>(taken) > adopt_end) return std::nullopt;
    PageNodePtr found = find(name, parent, before, label, tokens);
    if (!found) return name;
    session.take_page(std::move(found));
  }
  return std::nullopt;
}

// The page of this name, which follows `before`, if it is in memory or in the store.
PageNodePtr Memory::find(const PageName& name, const PageName& parent, const PageNodePtr& before,
                         uint32_t label, const std::vector<text::TokenId>& tokens) {
  const auto known = tree_.find(name);
  if (known != tree_.end() && (known->second->page || store_ == nullptr))
    return known->second->page ? known->second : nullptr;
  if (store_ == nullptr || !store_->contains(name)) return nullptr;
  if (known != tree_.end()) return known->second;
  auto node = std::make_shared<PageNode>(before, before ? before->end() : 0, label);
  node->tokens = tokens;
  node->name = name;
  node->parent_name = parent;
  tree_.emplace(name, node);
  sweep();
  return node;
}

// Names a complete page and puts it into the tree. Where a page of that name is there already, it
// takes the place of this one.
PageNodePtr Memory::complete(const PageName& root, PageNodePtr node) {
  if (node->name) return node;
  const PageName parent = node->parent ? *node->parent->name : root;
  const PageName name = page_name(parent, node->first_pos, node->label, node->tokens);
  const auto known = tree_.find(name);
  if (known != tree_.end() && known->second->page && is_whole(layout(), *known->second->page))
    return known->second;
  // To a fork that holds it too this page may still be open: it keeps a node of its own.
  if (node->shared.load() || known != tree_.end()) {
    PageNodePtr named;
    if (known != tree_.end()) {
      named = known->second;
    } else {
      named = std::make_shared<PageNode>(node->parent, node->first_pos, node->label);
      named->tokens = node->tokens;
      named->name = name;
      named->parent_name = parent;
    }
    named->page = node->page;
    named->charge = charge_page();
    node = std::move(named);
  } else {
    node->name = name;
    node->parent_name = parent;
  }
  tree_[name] = node;
  sweep();
  return node;
}

PageNodePtr Memory::publish(const PageName& root, std::vector<PageNodePtr>& filled) {
  const Lock lock(mutex_);
  PageNodePtr before;
  for (size_t i = 0; i < filled.size(); ++i) {
    PageNodePtr& node = filled[i];
    if (i > 0) node->parent = before;
    if (node->full() || i + 1 < filled.size()) {
      node = complete(root, node);
    } else {
      list_open(node);
    }
    before = node;
  }
  appraise(before);
  return before;
}

// Gets the pages that are missing out of the store, the first pages_max of them. Returns the first
// that was not there, damaged or unreadable, if any.
PageNodePtr Memory::restore(Lock& lock, Hold& hold, int32_t next_pos, size_t pages_max) {
  std::vector<PageNodePtr> missing;
  for (const PageNodePtr& node : hold.nodes)
    if (!is_resident(*node, next_pos)) missing.push_back(node);
  missing.resize(std::min(missing.size(), pages_max));
  const std::vector<PageNodePtr> line = with_ancestors(missing);
  lock.unlock();
  const int64_t use = store_->begin_use();
  for (const PageNodePtr& node : line) store_->renew(*node->name, node->first_pos, use);
  std::vector<std::shared_ptr<model::Page>> pages;
  for (const PageNodePtr& node : missing) {
    std::optional<StoredPage> stored = store_->read(*node->name, use);
    if (!stored) break;
    pages.push_back(page_from(layout(), std::move(*stored)));
    if (pages.back()) continue;
    store_->remove(*node->name);  // of another shape: no page of ours
    pages.pop_back();
    break;
  }
  lock.lock();
  for (size_t i = 0; i < pages.size(); ++i) {
    if (is_resident(*missing[i], next_pos)) continue;  // another pass has restored it
    missing[i]->page = std::move(pages[i]);
    missing[i]->charge = hold.reserved.split(page_bytes_);
    ++stats_.pages_restored;
  }
  return pages.size() < missing.size() ? missing[pages.size()] : nullptr;
}

void Memory::measure(int64_t tokens, double depth_sum, double seconds) {
  const Lock lock(mutex_);
  cost_.add(static_cast<double>(tokens), depth_sum, seconds);
}

Pin::Pin(Memory* memory, std::vector<PageNodePtr> nodes)
    : memory_(memory), nodes_(std::move(nodes)) {}

Pin::Pin(Pin&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), nodes_(std::move(other.nodes_)) {}

Pin& Pin::operator=(Pin&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(nodes_, other.nodes_);
  return *this;
}

Pin::~Pin() {
  if (memory_ == nullptr) return;
  const Memory::Lock lock(memory_->mutex_);
  for (const PageNodePtr& node : nodes_)
    if (--node->pins == 0) memory_->pinned_bytes_ -= memory_->page_bytes_;
}

Result<Pin> Memory::pin(const Session& session) {
  GEIST_CHECK(session.memory_ == this);
  const Lock lock(mutex_);
  std::vector<PageNodePtr> nodes = chain_of(session.tail_);
  const uint64_t more = (nodes.size() - own_pinned_pages(session)) * page_bytes_;
  // These pages are a part of what the session itself claims.
  std::multiset<uint64_t> others = claims_;
  const uint64_t own = session.claim_.bytes(), these = nodes.size() * page_bytes_;
  if (const auto claim = others.find(own); claim != others.end()) others.erase(claim);
  const uint64_t whole = with_pinned(session, own, nodes.size());
  uint64_t largest = whole - std::min(whole, these);
  if (!others.empty()) largest = std::max(largest, *others.rbegin());
  const uint64_t needed = pinned_bytes_ + more + largest;
  if (needed > budget_)
    return errorf(
        "pinning %.1f MB would leave too little for the sessions that were admitted: %.1f MB "
        "together, of %.1f MB",
        megabytes(more), megabytes(needed), megabytes(budget_));
  for (const PageNodePtr& node : nodes) ++node->pins;
  pinned_bytes_ += more;
  return Pin(this, std::move(nodes));
}

int32_t Memory::save(const Session& session) {
  GEIST_CHECK(session.memory_ == this);
  if (store_ == nullptr) return 0;
  Lock lock(mutex_);
  std::vector<PageNodePtr> nodes = chain_of(session.tail_);
  std::erase_if(nodes, [](const PageNodePtr& node) { return !node->name; });
  return save_nodes(lock, nodes);
}

int32_t Memory::demote(const Session& session) {
  const int32_t saved = save(session);
  const Lock lock(mutex_);
  for (const PageNodePtr& node : chain_of(session.tail_))
    if (node->name && store_ != nullptr && store_->contains(*node->name) && evictable(*node))
      evict(*node);
  return saved;
}

void Memory::drop(const Session& session) {
  GEIST_CHECK(session.memory_ == this);
  const Lock lock(mutex_);
  for (const PageNodePtr& node : chain_of(session.tail_))
    if (evictable(*node)) evict(*node);
}

void Memory::prefetch(Session& session) {
  GEIST_CHECK(session.memory_ == this);
  Hold held;
  PassState alone{.read_s = std::numeric_limits<double>::infinity()};
  if (hold(session, 0, session.length() - 1, false, alone, held)) release(held);
}

Memory::Stats Memory::stats() const {
  const Lock lock(mutex_);
  Stats stats = stats_;
  stats.resident_bytes = resident_->load();
  stats.pinned_bytes = pinned_bytes_;
  stats.pages_known = tree_.size();
  return stats;
}

}  // namespace geist::engine
