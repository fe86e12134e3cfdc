// Which pages leave memory, and for where. GreedyDual (Young 1994; Cao and Irani 1997): when a page
// is used it is worth the clock plus what it costs to get it back (the cheaper of computing it at
// its depth and reading it from the store, both as measured); the page worth least is evicted, and
// the clock moves to its worth, so that what is long unused grows cheap. A page is worth no less
// than those behind it in a timeline, which are of no use without it.
//
// Pages go to the store when reading is the cheaper way back, and are dropped otherwise.
#include <algorithm>
#include <functional>
#include <unordered_set>

#include "engine/memory.h"
#include "engine/page_bytes.h"

namespace geist::engine {
namespace {

constexpr double kReadGuess = 1e9;  // bytes a second, until a page was read

bool is_behind(const PageNodePtr& a, const PageNodePtr& b) { return a->index > b->index; }

}  // namespace

bool Memory::evictable(const PageNode& node) {
  return node.in_use == 0 && node.pins == 0 && node.page != nullptr;
}

void Memory::evict(PageNode& node) {
  node.page.reset();
  node.charge = {};
  clock_ = std::max(clock_, node.value);
  ++stats_.pages_evicted;
}

// What reading a page takes, by the rate of the store so far.
double Memory::page_read_s() const {
  const double measured = store_->stats().read_bytes_per_s;
  return static_cast<double>(page_bytes_) / (measured > 0 ? measured : kReadGuess);
}

void Memory::appraise(const PageNodePtr& tail) {
  const double read_s = store_ != nullptr && store_->writable() ? page_read_s() : -1;
  double value = 0;
  for (PageNode* node = tail.get(); node != nullptr; node = node->parent.get()) {
    double cost = cost_.seconds(static_cast<double>(node->tokens.size()), node->first_pos);
    if (read_s >= 0 && node->name) cost = std::min(cost, read_s);
    value = std::max(value, clock_ + cost);
    node->value = value;
  }
}

std::vector<PageNodePtr> Memory::evictable_pages() {
  std::vector<PageNodePtr> found;
  for (const auto& [name, node] : tree_)
    if (evictable(*node)) found.push_back(node);
  std::erase_if(open_, [&](const std::weak_ptr<PageNode>& weak) {
    PageNodePtr node = weak.lock();
    if (!node || node->name) return true;
    if (evictable(*node)) found.push_back(std::move(node));
    return false;
  });
  return found;
}

// Pages that free this many bytes, cheapest first, of a timeline the last first; none when there
// are not enough.
std::vector<PageNodePtr> Memory::victims(uint64_t bytes) {
  std::vector<PageNodePtr> found = evictable_pages();
  uint64_t all = 0;
  for (const PageNodePtr& node : found) all += node->charge.bytes();
  if (all < bytes) return {};
  const auto cheaper = [](const PageNodePtr& a, const PageNodePtr& b) {
    return a->value != b->value ? a->value < b->value : a->first_pos > b->first_pos;
  };
  std::sort(found.begin(), found.end(), cheaper);
  auto end = found.begin();
  for (uint64_t freed = 0; freed < bytes; ++end) freed += (*end)->charge.bytes();
  found.erase(end, found.end());
  return found;
}

bool Memory::worth_storing(const PageNode& node) const {
  if (store_ == nullptr || !node.name || !is_whole(layout(), *node.page) || !store_->writable() ||
      store_->contains(*node.name))
    return false;
  return page_read_s() < cost_.seconds(static_cast<double>(node.tokens.size()), node.first_pos);
}

// May let go of the lock for a while; on success the room is there when it returns.
bool Memory::make_room(Lock& lock, uint64_t bytes) {
  while (resident_->load() + bytes > budget_) {
    const std::vector<PageNodePtr> chosen = victims(resident_->load() + bytes - budget_);
    if (chosen.empty()) return false;
    std::vector<PageNodePtr> to_store;
    std::copy_if(chosen.begin(), chosen.end(), std::back_inserter(to_store),
                 [&](const PageNodePtr& node) { return worth_storing(*node); });
    if (!to_store.empty()) save_nodes(lock, to_store);
    for (const PageNodePtr& node : chosen)
      if (evictable(*node)) evict(*node);
  }
  return true;
}

// For a session that cuts a shared page. False: it must compute the page's tokens again.
bool Memory::make_room_for_copy(Lock& lock, PageNode& node) {
  ++holds_;
  ++node.in_use;
  const bool made = make_room(lock, page_bytes_);
  --node.in_use;
  --holds_;
  released_.notify_all();
  return made;
}

std::vector<PageNodePtr> Memory::with_ancestors(const std::vector<PageNodePtr>& nodes) {
  std::vector<PageNodePtr> line;
  std::unordered_set<const PageNode*> seen;
  for (PageNodePtr node : nodes)
    for (; node && seen.insert(node.get()).second; node = node->parent) line.push_back(node);
  std::sort(line.begin(), line.end(), is_behind);
  return line;
}

// Writes pages without the lock, holding them meanwhile. Returns how many are in the store.
//
// Where the store is too small for a text, the end of it is what must go: the pages before count as
// used now, and the last page is written first.
int32_t Memory::save_nodes(Lock& lock, std::vector<PageNodePtr> nodes) {
  std::sort(nodes.begin(), nodes.end(), is_behind);
  ++holds_;
  std::vector<std::shared_ptr<model::Page>> pages;
  for (const PageNodePtr& node : nodes) {
    ++node->in_use;
    pages.push_back(node->page);
  }
  const std::vector<PageNodePtr> line = with_ancestors(nodes);
  lock.unlock();
  const int64_t use = store_->begin_use();
  for (const PageNodePtr& node : line) store_->renew(*node->name, node->first_pos, use);
  for (size_t i = 0; i < nodes.size(); ++i)
    if (pages[i] && is_whole(layout(), *pages[i]))
      store_->write(page_record(layout(), *nodes[i], *pages[i]), use);
  const auto saved = std::count_if(nodes.begin(), nodes.end(), [&](const PageNodePtr& node) {
    return store_->contains(*node->name);
  });
  pages.clear();
  lock.lock();
  for (const PageNodePtr& node : nodes) --node->in_use;
  --holds_;
  released_.notify_all();
  return static_cast<int32_t>(saved);
}

void Memory::list_open(const PageNodePtr& node) {
  if (node->listed) return;
  node->listed = true;
  if (open_.size() == open_.capacity())
    std::erase_if(open_, [](const std::weak_ptr<PageNode>& weak) { return weak.expired(); });
  open_.push_back(node);
}

// Forgets nodes that have no page and that no session and no other node knows; the last of a
// timeline first, since each knows the one before it.
void Memory::sweep() {
  if (tree_.size() < 2 * swept_) return;
  std::vector<std::pair<int32_t, PageName>> idle;
  for (const auto& [name, node] : tree_)
    if (!node->page) idle.emplace_back(node->index, name);
  std::sort(idle.begin(), idle.end(), std::greater<>());
  for (const auto& [index, name] : idle)
    if (const auto found = tree_.find(name); found->second.use_count() == 1) tree_.erase(found);
  swept_ = std::max<size_t>(tree_.size(), 64);
}

}  // namespace geist::engine
