// How many tokens to draft: what a pass over 1 + k tokens has cost, how many drafts were accepted,
// and a ledger of what speculation has won or lost. Decisions depend on measured time; tokens never
// do.
#pragma once

#include <array>
#include <cstdint>

namespace geist::engine {

class SpeculationCost {
 public:
  static constexpr int32_t kDraftMax = 32;
  static constexpr int32_t kClasses = 4;  // of drafts, by how much there is to be said for them

  // A pass over `tokens` took this long.
  void passed(int32_t tokens, double seconds);
  // Of k drafts of a class, drafted in draft_s and verified in verify_s, a were accepted.
  void verified(int32_t draft_class, int32_t k, int32_t accepted, double draft_s, double verify_s);
  // The number of drafts, 0 to limit, that gives most tokens a second, by what is known, among
  // those that the ledger can pay for if none is accepted: losses stay within 1.5% of the time of
  // all passes, and half a pass.
  int32_t choose(int32_t draft_class, int32_t limit) const;

 private:
  double pass_s(int32_t tokens) const;  // measured, or guessed from what was measured nearby
  double acceptance(int32_t draft_class) const;

  std::array<double, kDraftMax + 2> pass_s_{};           // [tokens]; 0: not measured
  std::array<double, kClasses> accepted_{}, offered_{};  // fading
  double draft_s_ = 0;                                   // a token; fading
  double gained_s_ = 0;                                  // negative: lost
  double work_s_ = 0;
};

}  // namespace geist::engine
