// Near-duplicates by MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and
// Ullman, "Mining of Massive Datasets", chapter 3).
//
// A document is the set of its runs of five words, letters of ASCII in lower case. Of 128 hash
// functions each keeps its least value over the set: the share of places where two signatures agree
// estimates the Jaccard similarity of the sets, with a standard error of at most 0.045. Signatures
// are compared only when one of their bands agrees as a whole; how many rows a band has follows
// from the threshold. About 1.3 kB of memory for each document that is kept.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace geist::train {

inline constexpr size_t kSignatureSize = 128;
using Signature = std::array<uint32_t, kSignatureSize>;

Signature signature_of(std::string_view document);
double similarity(const Signature& a, const Signature& b);

// The documents that were kept so far. The answers depend on the order in which documents come.
class NearDuplicates {
 public:
  explicit NearDuplicates(double threshold);
  // Whether a document so similar was kept before; if not, this one is remembered.
  bool is_duplicate(const Signature& signature);

 private:
  uint64_t band_hash(const Signature& signature, size_t band) const;
  double threshold_;
  size_t rows_;  // of a band
  std::vector<Signature> kept_;
  // By hash of a band: the newest document with it; the chain of older ones is in older_.
  std::unordered_map<uint64_t, uint32_t> newest_;
  std::vector<uint32_t> older_;  // [document][band], +1; 0: none
};

}  // namespace geist::train
