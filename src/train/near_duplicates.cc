#include "train/near_duplicates.h"

#include <algorithm>
#include <limits>

#include "base/rng.h"
#include "train/words.h"

namespace geist::train {
namespace {

// Multiply-add-shift hashing: odd factors and offsets from one stream.
struct HashFunctions {
  std::array<uint64_t, kSignatureSize> factor, offset;
  HashFunctions() {
    RandomStream random(0, "minhash");
    for (uint64_t& f : factor) f = random.next_u64() | 1;
    for (uint64_t& o : offset) o = random.next_u64();
  }
};

void take_run(uint64_t run, Signature* signature) {
  static const HashFunctions kFunctions;
  for (size_t i = 0; i < kSignatureSize; ++i) {
    const auto hash =
        static_cast<uint32_t>((kFunctions.factor[i] * run + kFunctions.offset[i]) >> 32);
    (*signature)[i] = std::min((*signature)[i], hash);
  }
}

uint64_t lower_case_hash(std::string_view word) {
  uint64_t hash = stream_id("");
  for (const char c : word) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    hash = (hash ^ static_cast<unsigned char>(lower)) * 0x100000001b3u;
  }
  return hash;
}

// Rows to a band: as many as still make a pair at the threshold meet in one of the bands with a
// probability of nine in ten.
size_t rows_for(double threshold) {
  for (size_t rows = 32; rows > 1; rows /= 2) {
    const double bands = static_cast<double>(kSignatureSize / rows);
    double all_rows = 1;
    for (size_t i = 0; i < rows; ++i) all_rows *= threshold;
    double none = 1;
    for (double b = 0; b < bands; ++b) none *= 1 - all_rows;
    if (1 - none >= 0.9) return rows;
  }
  return 1;
}

}  // namespace

Signature signature_of(std::string_view document) {
  Signature signature;
  signature.fill(std::numeric_limits<uint32_t>::max());
  std::array<uint64_t, kRunWords> last{};
  size_t words = 0;
  for_each_word(document, [&](std::string_view word) {
    std::copy(last.begin() + 1, last.end(), last.begin());
    last.back() = lower_case_hash(word);
    if (++words >= kRunWords) take_run(run_hash(last.data()), &signature);
  });
  if (words < kRunWords) take_run(run_hash(last.data() + (kRunWords - words), words), &signature);
  return signature;
}

double similarity(const Signature& a, const Signature& b) {
  int equal = 0;
  for (size_t i = 0; i < kSignatureSize; ++i) equal += a[i] == b[i];
  return equal / static_cast<double>(kSignatureSize);
}

NearDuplicates::NearDuplicates(double threshold)
    : threshold_(threshold), rows_(rows_for(threshold)) {}

uint64_t NearDuplicates::band_hash(const Signature& signature, size_t band) const {
  uint64_t hash = band + 1;
  for (size_t i = band * rows_; i < (band + 1) * rows_; ++i) {
    hash = (hash ^ signature[i]) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 31;
  }
  return hash;
}

bool NearDuplicates::is_duplicate(const Signature& signature) {
  const size_t bands = kSignatureSize / rows_;
  std::vector<uint64_t> hashes(bands);
  for (size_t band = 0; band < bands; ++band) {
    hashes[band] = band_hash(signature, band);
    const auto newest = newest_.find(hashes[band]);
    for (uint32_t at = newest == newest_.end() ? 0 : newest->second; at != 0;
         at = older_[(at - 1) * bands + band])
      if (similarity(kept_[at - 1], signature) >= threshold_) return true;
  }
  kept_.push_back(signature);
  for (const uint64_t hash : hashes) {
    uint32_t& newest = newest_[hash];
    older_.push_back(newest);
    newest = static_cast<uint32_t>(kept_.size());
  }
  return false;
}

}  // namespace geist::train
