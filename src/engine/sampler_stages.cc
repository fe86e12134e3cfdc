#include "engine/sampler_stages.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "kernels/math.h"

namespace geist::engine::stages {

using kernels::det_exp;
using kernels::det_log;

bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

void sort_and_weigh(Candidates& candidates, int32_t k) {
  const size_t keep =
      k > 0 ? std::min(candidates.size(), static_cast<size_t>(k)) : candidates.size();
  const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(keep);
  std::partial_sort(candidates.begin(), end, candidates.end(), before);
  candidates.erase(end, candidates.end());
  apply_temperature(candidates, 1.0);
}

double weight_sum(const Candidates& candidates) {
  double sum = 0;
  for (const Candidate& candidate : candidates) sum += candidate.weight;
  return sum;
}

namespace {

void truncate(Candidates& candidates, size_t count, int32_t min_keep) {
  count = std::max(count, static_cast<size_t>(std::max(min_keep, 1)));
  if (count < candidates.size()) candidates.resize(count);
}

}  // namespace

void keep_typical(Candidates& candidates, double p, int32_t min_keep) {
  const double sum = weight_sum(candidates);
  struct Entry {
    double score;  // |information - entropy|
    size_t index;
  };
  std::vector<Entry> entries(candidates.size());
  double entropy = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const double probability = candidates[i].weight / sum;
    // A weight that underflowed to 0 adds nothing to the entropy, as its limit does.
    const double information = probability > 0 ? -det_log(probability) : INFINITY;
    if (probability > 0) entropy += probability * information;
    entries[i] = {information, i};
  }
  for (Entry& entry : entries) entry.score = std::abs(entry.score - entropy);
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.score != b.score ? a.score < b.score : a.index < b.index;
  });
  size_t keep = entries.size();
  double cumulative = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    cumulative += candidates[entries[i].index].weight / sum;
    if (cumulative > p && i + 1 >= static_cast<size_t>(std::max(min_keep, 1))) {
      keep = i + 1;
      break;
    }
  }
  entries.resize(keep);
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.index < b.index; });
  for (size_t i = 0; i < keep; ++i) candidates[i] = candidates[entries[i].index];
  candidates.resize(keep);
}

void keep_top_p(Candidates& candidates, double p, int32_t min_keep) {
  const double target = p * weight_sum(candidates);
  double cumulative = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    cumulative += candidates[i].weight;
    if (cumulative >= target && i + 1 >= static_cast<size_t>(std::max(min_keep, 1))) {
      return truncate(candidates, i + 1, min_keep);
    }
  }
}

void keep_min_p(Candidates& candidates, double p, int32_t min_keep) {
  const double least = p * candidates[0].weight;
  const auto end = std::find_if(candidates.begin(), candidates.end(),
                                [&](const Candidate& c) { return c.weight < least; });
  truncate(candidates, static_cast<size_t>(end - candidates.begin()), min_keep);
}

void exclude_top_choices(Candidates& candidates, double threshold, int32_t min_keep) {
  const double least = threshold * weight_sum(candidates);
  size_t likely = 0;
  while (likely < candidates.size() && candidates[likely].weight >= least) ++likely;
  if (likely < 2 || candidates.size() - (likely - 1) < static_cast<size_t>(min_keep)) return;
  candidates.erase(candidates.begin(),
                   candidates.begin() + static_cast<std::ptrdiff_t>(likely - 1));
}

void apply_temperature(Candidates& candidates, double temperature) {
  if (candidates.empty()) return;
  const double largest = candidates[0].logit;
  for (Candidate& candidate : candidates) {
    candidate.weight = det_exp((static_cast<double>(candidate.logit) - largest) / temperature);
  }
}

size_t draw(const Candidates& candidates, double u) {
  GEIST_CHECK(!candidates.empty());
  const double target = u * weight_sum(candidates);
  double cumulative = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    cumulative += candidates[i].weight;
    if (cumulative > target) return i;
  }
  return candidates.size() - 1;
}

namespace {

// How many tokens at the end of history may be part of a repetition: up to the last breaker.
size_t match_limit(std::span<const TokenId> history,
                   const std::vector<std::vector<TokenId>>& breakers) {
  const size_t n = history.size();
  for (size_t back = 0; back < n; ++back) {  // a breaker that begins `back` tokens before the last
    size_t longest = 0;
    for (const auto& breaker : breakers) {
      if (breaker.empty() || breaker.size() > back + 1 || breaker.size() <= longest) continue;
      if (std::equal(breaker.begin(), breaker.end(),
                     history.begin() + static_cast<std::ptrdiff_t>(n - 1 - back))) {
        longest = breaker.size();
      }
    }
    if (longest > 0) return back + 1 - longest;
  }
  return n;
}

}  // namespace

std::map<TokenId, int32_t> repetition_lengths(std::span<const TokenId> history,
                                              const std::vector<std::vector<TokenId>>& breakers,
                                              int32_t allowed_length) {
  std::map<TokenId, int32_t> longest;
  const size_t n = history.size();
  const size_t allowed = static_cast<size_t>(std::max(allowed_length, 0));
  const size_t limit = match_limit(history, breakers);
  if (n <= allowed || limit < allowed) return longest;
  // z[i]: how many tokens ending i places before the last equal those ending at the last.
  const auto reversed = [&](size_t i) { return history[n - 1 - i]; };
  std::vector<size_t> z(n, 0);
  for (size_t i = 1, begin = 0, end = 0; i < n; ++i) {
    if (i < end) z[i] = std::min(end - i, z[i - begin]);
    while (i + z[i] < n && reversed(z[i]) == reversed(i + z[i])) ++z[i];
    if (i + z[i] > end) begin = i, end = i + z[i];
    const size_t length = std::min(z[i], limit);
    if (length < allowed || length == 0) continue;
    int32_t& known = longest[reversed(i - 1)];  // what followed the earlier occurrence
    known = std::max(known, static_cast<int32_t>(length));
  }
  return longest;
}

}  // namespace geist::engine::stages
