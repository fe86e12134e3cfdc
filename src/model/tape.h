// What a pass tells of its operations while it runs them, so that a trainer can run them backwards.
// A forward pass with a tape is the same pass, same kernels and same bits; where the tape wants it,
// it keeps what is inside attention and MLP until the workspace begins again, instead of reusing
// it.
//
// Rows are buffers that architectures reuse and change in place: what an event names is valid at
// that moment, and a tape copies what it needs of it. Memory said to be kept stays.
#pragma once

#include <cstdint>
#include <span>

#include "model/blocks.h"

namespace geist::model {

struct Rows;

class Tape {
 public:
  virtual ~Tape() = default;

  // Asked once before each operation; one that the tape does not want run is not told either. A
  // tape that kept little of a pass has parts of it run again this way.
  virtual bool runs() { return true; }
  // The pass is one that ran before, and finds its rows where that one had them.
  virtual bool repeats() const { return false; }
  // Whether what is inside attention and MLP stays when the event is over.
  virtual bool keeps() const { return true; }

  // Before the operation.
  virtual void embed(const Matrix& table, Rows x) = 0;
  virtual void add_position_embedding(Rows x, const Matrix& table) = 0;
  virtual void norm(Rows in, const Norm& norm, Rows out) = 0;
  virtual void add(Rows x, Rows y) = 0;
  // The end: the final norm over the wanted rows of x, and the head (null: hidden states only).
  virtual void output(Rows x, std::span<const int64_t> wanted, const Norm& norm,
                      const Linear* head) = 0;

  // After the operation; out is not in. Kept, if keeps(): qkv (rotated), heads (the attention's
  // output before its projection), gate and up (before the activation; gate has no data where there
  // is none). cos and sin: [tokens, pairs], null where there is no rotation.
  virtual void attention(Rows in, const Attention& attention, Rows qkv, const float* cos,
                         const float* sin, int64_t pairs, Rows heads, Rows out) = 0;
  virtual void mlp(Rows in, const Mlp& mlp, Rows gate, Rows up, Rows out) = 0;

  // Adapters (lora.h) of the products of attention and mlp are no event of their own: a tape that
  // is given tokens with adapters looks them up by the matrices that it is told.

  // An operation that no tape can take back yet.
  virtual void other(const char* operation) = 0;
};

}  // namespace geist::model
