// The stages of the sampling chain, each a function over candidates. Exact definitions and order of
// every sum: docs/sampling.md. Internal to engine; sampler.cc strings them together.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "engine/sampler.h"

namespace geist::engine::stages {

using Candidates = std::vector<Candidate>;

// Larger logit first, then smaller id: a total order, so equal logits never depend on the sorting
// algorithm.
bool before(const Candidate& a, const Candidate& b);

// Sorts, keeping the first k (all when k is 0), and sets the weights.
void sort_and_weigh(Candidates& candidates, int32_t k);

// The filters below want sorted, weighed candidates and leave them so, never empty.
void keep_typical(Candidates& candidates, double p, int32_t min_keep);  // Meister et al. 2022
void keep_top_p(Candidates& candidates, double p, int32_t min_keep);    // Holtzman et al. 2020
void keep_min_p(Candidates& candidates, double p, int32_t min_keep);    // Nguyen et al. 2024
// Exclude top choices: drops all tokens at least as likely as threshold but the least likely of
// them.
void exclude_top_choices(Candidates& candidates, double threshold, int32_t min_keep);
// Sets weights to those at this temperature.
void apply_temperature(Candidates& candidates, double temperature);
// The candidate that u in [0, 1) falls on; weights need not sum to 1.
size_t draw(const Candidates& candidates, double u);

double weight_sum(const Candidates& candidates);

// DRY ("don't repeat yourself", p-e-w 2024): for each token that would continue a repetition of
// earlier text, how many tokens of repetition it would continue, at least allowed_length; matches
// do not reach over breakers. Linear in history (a Z function).
std::map<TokenId, int32_t> repetition_lengths(std::span<const TokenId> history,
                                              const std::vector<std::vector<TokenId>>& breakers,
                                              int32_t allowed_length);

}  // namespace geist::engine::stages
