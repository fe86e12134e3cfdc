// Scratch memory of forward passes: a stack of floats that keeps its size between passes, and the
// index lists of the batch. After the first pass of a given size nothing is allocated.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "model/lora.h"
#include "model/model.h"

namespace geist::model {

class Workspace {
 public:
  // Empties the stack. What did not fit last time fits now.
  void begin();
  // n floats, 64-byte aligned, uninitialised.
  float* take(int64_t n);
  // Everything taken since mark() is given back by release().
  int64_t mark() const { return used_; }
  void release(int64_t mark);

  // The batch's sequences and where each token's keys and values go.
  struct SequencePages {
    Sequence* sequence;
    size_t first_page;  // in `pages`
    size_t page_count;
  };
  struct Slot {
    const Page* page;
    int32_t index;    // in the page
    size_t sequence;  // in `sequences`
  };
  std::vector<SequencePages> sequences;
  std::vector<const Page*> page_headers;         // of all sequences, in order
  std::vector<kernels::AttentionPage> pages;     // the same for the layer at hand
  std::vector<kernels::AttentionQuery> queries;  // one a token, for the layer at hand
  std::vector<Slot> slots;                       // one a token
  std::vector<int64_t> wanted;                   // tokens whose output is wanted

  // cos and sin of the batch's positions, for at most two sets of frequencies (global and local
  // layers).
  struct RopeTable {
    const RopeFrequencies* frequencies = nullptr;
    std::vector<float> cos, sin;  // [tokens, pairs]
  };
  RopeTable rope[2];

  kernels::Activations activations;  // of the product at hand
  std::vector<kernels::MatmulJob> jobs;

  // Mixture of experts: choice[t * used + rank], and the pairs (token, rank) sorted by expert.
  std::vector<int32_t> expert_choice;
  std::vector<int64_t> expert_slot;   // [tokens * used]: row of the pair in expert order
  std::vector<int64_t> expert_first;  // [experts + 1]

  // Adapters: the batch's sets with their tokens (and with those tokens' places in `wanted`), and
  // the work of the product at hand.
  struct AdapterGroup {
    const AdapterSet* set;
    std::vector<int64_t> tokens, wanted;
  };
  struct AdapterTerm {
    size_t job;
    const LoraPair* pair;
    float factor;
    float* low;  // [rows, rank]
  };
  struct AdapterBlock {
    size_t begin, end;  // of terms
    int64_t row;
  };
  std::vector<AdapterGroup> adapter_groups;
  std::vector<AdapterTerm> adapter_terms;
  std::vector<AdapterBlock> adapter_blocks;
  std::vector<kernels::MatmulJob> adapter_jobs;

 private:
  struct Free {
    void operator()(float* p) const;
  };
  using Block = std::unique_ptr<float, Free>;
  static Block allocate(int64_t n);

  // What is taken beyond capacity_, until the next begin() makes one block of all. The first
  // overflow_used_ are taken; those behind them were released and are taken again when they fit, so
  // that the layers of a first pass share them as those of later passes share block_.
  struct Overflow {
    int64_t at, size;
    Block block;
  };
  Block block_;
  int64_t capacity_ = 0, used_ = 0, peak_ = 0;
  std::vector<Overflow> overflow_;
  size_t overflow_used_ = 0;
};

}  // namespace geist::model
