// The memory that sessions share: pages found by name, a budget in bytes, and a store on disk.
//
//   auto store = engine::PageStore::open(folder);
//   engine::Memory memory(model, {.budget_bytes = 4 << 30, .store = store->get(), .weights =
//   digest}); engine::Session session(model, {.memory = &memory});
//
// Sessions of one Memory and domain that begin with the same tokens share pages without being told:
// when a pass comes to tokens whose page is already there (in memory or in the store), the session
// takes the page instead of computing it. Under pressure, pages that no pass uses are evicted,
// those first that are cheapest to get back for the room they take; a session that lost pages reads
// or computes them again within its next passes. None of this changes a bit of any result: times
// are measured only to choose what is evicted.
//
// Admission: Session::append refuses tokens whose pages could not all be in memory at once beside
// the pinned ones, so a session that was admitted can always run, if need be alone.
//
// Thread-safe; must outlive its sessions and pins.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/page_node.h"
#include "engine/page_store.h"
#include "engine/prefill_cost.h"
#include "model/model.h"

namespace geist::engine {

class Session;
class Memory;

struct MemoryOptions {
  uint64_t budget_bytes = 0;   // 0: four fifths of the memory that is free
  PageStore* store = nullptr;  // must outlive the Memory
  Sha256Digest weights{};      // of the model; needed with a store (engine/weights_digest.h)
  model::KvType kv_type = model::KvType::kF32;
};

// Pages that stay in memory while this lives (once they are there: see Memory::prefetch).
class Pin {
 public:
  Pin(Pin&& other) noexcept;
  Pin& operator=(Pin&& other) noexcept;
  ~Pin();

 private:
  friend class Memory;
  Pin(Memory* memory, std::vector<PageNodePtr> nodes);
  Memory* memory_ = nullptr;
  std::vector<PageNodePtr> nodes_;
};

class Memory {
 public:
  Memory(const model::Model& model, const MemoryOptions& options);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Keeps a session's computed pages in memory. Fails when they and the largest session admitted
  // would not fit into the budget together.
  Result<Pin> pin(const Session& session);
  // Writes a session's complete pages into the store and returns how many are there; demote() also
  // frees their memory. Both do nothing without a store.
  int32_t save(const Session& session);
  int32_t demote(const Session& session);
  // Frees the memory of a session's pages (for tests, and for callers that know better).
  void drop(const Session& session);
  // Reads pages that a session lost, and those of its pending tokens, back from the store, if they
  // fit.
  void prefetch(Session& session);

  uint64_t budget_bytes() const { return budget_; }
  PageStore* store() const { return store_; }
  model::KvType kv_type() const { return kv_type_; }

  struct Stats {
    uint64_t resident_bytes = 0, pinned_bytes = 0;
    uint64_t tokens_shared = 0;   // taken from pages in memory or in the store instead of computed
    uint64_t pages_restored = 0;  // read from the store
    uint64_t pages_evicted = 0;
    uint64_t pages_known = 0;  // by name: those in memory, and those that others follow
    uint64_t pages_lost = 0;   // to be computed again by a session that had them
    uint64_t waits = 0;        // times that a pass went to sleep for want of room
  };
  Stats stats() const;

 private:
  friend class Runner;
  friend class Session;
  friend class Pin;
  class Claim;
  using Lock = std::unique_lock<std::mutex>;

  // ---- for Session
  PageName root(const model::AdapterSet* adapters, const std::string& domain,
                const model::LabelVisibility* visibility) const;
  // Whether a session may need this many bytes at once.
  Status admit(const Session& session, uint64_t bytes, int64_t tokens);

  // ---- for Runner: what a pass holds of a session
  struct Hold {
    bool held = false;
    std::vector<PageNodePtr> nodes;
    std::vector<std::shared_ptr<model::Page>> pages;  // of the nodes
    int32_t count = 0;                                // tokens that there is room for
    Charge reserved;                                  // for the pages that the pass will add
    std::optional<PageName> next;  // of the page that the session computes next, if it is complete
  };
  // What the sessions of a pass share: the time left for reading pages, and the bytes that those
  // which joined will need in later passes.
  struct PassState {
    double read_s;
    uint64_t promised = 0;
    int32_t refused = 0;  // sessions
  };
  // Takes pages that are there instead of computing tokens before position adopt_end, gives up
  // those that are lost, and gets all others into memory, with room for `count` more tokens. When
  // they do not fit beside what other passes hold: waits, or returns false. So it does when there
  // is no time for reading all of them.
  bool hold(Session& session, int32_t count, int32_t adopt_end, bool wait, PassState& pass,
            Hold& out);
  void release(Hold& hold);
  // After a pass: names the complete ones of the nodes that it filled (each the parent of the next)
  // and returns the last, or the node of the same name that was there before.
  PageNodePtr publish(const PageName& root, std::vector<PageNodePtr>& filled);
  Charge charge_page() { return {resident_, page_bytes_}; }
  const model::KvLayout& layout() const { return model_->config().kv_layout(kv_type_); }
  void measure(int64_t tokens, double depth_sum, double seconds);

  std::optional<PageName> adopt(Session& session, int32_t adopt_end);
  PageNodePtr find(const PageName& name, const PageName& parent, const PageNodePtr& before,
                   uint32_t label, const std::vector<text::TokenId>& tokens);
  PageNodePtr complete(const PageName& root, PageNodePtr node);
  void roll_back(Session& session);
  PageNodePtr restore(Lock& lock, Hold& hold, int32_t next_pos, size_t pages_max);
  double page_read_s() const;
  bool make_room(Lock& lock, uint64_t bytes);
  bool make_room_for_copy(Lock& lock, PageNode& node);
  std::vector<PageNodePtr> evictable_pages();
  std::vector<PageNodePtr> victims(uint64_t bytes);
  bool fits_whole(const Session& session, const Hold& hold, uint64_t missing,
                  const PassState& pass);
  bool worth_storing(const PageNode& node) const;
  bool is_resident(const PageNode& node, int32_t next_pos) const;
  bool is_here(const PageNode& node, int32_t next_pos) const;
  uint64_t grab(Session& session, Hold& hold);
  uint64_t new_bytes(const Session& session, int32_t count) const;
  bool find_room(Lock& lock, const Session& session, uint64_t missing, bool wait, Hold& hold);
  void drop_expired(const Hold& hold, int32_t next_pos);
  static bool evictable(const PageNode& node);
  void let_go(Hold& hold);
  int32_t save_nodes(Lock& lock, std::vector<PageNodePtr> nodes);
  // The nodes and all before them, those furthest behind first.
  static std::vector<PageNodePtr> with_ancestors(const std::vector<PageNodePtr>& nodes);
  void evict(PageNode& node);
  void appraise(const PageNodePtr& tail);
  void list_open(const PageNodePtr& node);
  void sweep();
  uint64_t own_pinned_pages(const Session& session) const;
  uint64_t with_pinned(const Session& session, uint64_t needed, uint64_t pinned) const;

  const model::Model* model_;
  PageStore* store_;
  model::KvType kv_type_;
  uint64_t budget_, page_bytes_;
  PageSpace space_;
  std::shared_ptr<std::atomic<uint64_t>> resident_ = std::make_shared<std::atomic<uint64_t>>(0);

  mutable std::mutex mutex_;  // guards what follows, and the nodes' pages
  std::condition_variable released_;
  std::unordered_map<PageName, PageNodePtr, PageNameHash> tree_;
  std::vector<std::weak_ptr<PageNode>> open_;  // pages without a name
  size_t swept_ = 64;                          // nodes left by the last sweep
  std::multiset<uint64_t> claims_;             // bytes that each session may need at once
  uint64_t pinned_bytes_ = 0;
  int32_t holds_ = 0;
  double clock_ = 0;  // of GreedyDual: the value of what was evicted last
  PrefillCost cost_;
  Stats stats_;
};

// Part of a session: its claim on the budget (a fork claims as much).
class Memory::Claim {
 public:
  Claim() = default;
  explicit Claim(Memory* memory) : memory_(memory) {}
  Claim(const Claim& other) : memory_(other.memory_) { set(other.bytes_); }
  Claim(Claim&& other) noexcept : memory_(other.memory_), bytes_(std::exchange(other.bytes_, 0)) {}
  Claim& operator=(Claim&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Claim() { set(0); }
  void set(uint64_t bytes);
  uint64_t bytes() const { return bytes_; }

 private:
  Memory* memory_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace geist::engine
