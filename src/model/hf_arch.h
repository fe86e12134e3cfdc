// What Geist knows about Hugging Face architectures (internal to this folder): for each model_type,
// what its tensors are called in GGUF, how their layout differs, and which numbers of config.json
// become which keys. The facts are those of the transformers library on one side and of the GGUF
// convention on the other.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "model/hf_config.h"

namespace geist::model {

enum class TensorOp : uint8_t {
  kPlain,
  kF32,         // stays F32 whatever matrices become (routers, positions)
  kAddOne,      // gemma's norms multiply by 1 + weight
  kTranspose,   // GPT-2's Conv1D holds [in, out]
  kRopeQ,       // rows of each query head from halves (i, i + n/2) to pairs (2i, 2i + 1)
  kRopeK,       // the same for key heads
  kQkvByHead,   // [head][q, k, v][n] becomes [q; k; v]
  kQkvByGroup,  // [key head][its q..., k, v][n] becomes [q; k; v] (falcon)
  kExpert,  // one of many matrices that are stacked; the last number in its name is the expert's
  kExpertGate,  // the first half of each expert's rows of a fused [gate; up]
  kExpertUp,    // the second half
  kHeadStack,   // one norm a head, stacked
};

// "#" stands for a number; in `gguf` it is the first one, the block. The ending (".weight",
// ".bias") is carried over.
struct TensorRule {
  std::string_view hf, gguf;
  TensorOp op = TensorOp::kPlain;
};

// The numbers that many rules and keys need, checked to be positive and to divide.
struct HfShape {
  int64_t hidden = 0, blocks = 0, heads = 0, kv_heads = 0, head_dim = 0, feed_forward = 0,
          context = 0;
};

// Sets keys "ARCHITECTURE.name"; an absent value sets nothing.
class Keys {
 public:
  Keys(std::string_view architecture, gguf::Metadata* metadata)
      : prefix_(std::string(architecture) + "."), metadata_(metadata) {}
  void integer(std::string_view name, std::optional<int64_t> value);
  void number(std::string_view name, std::optional<double> value);
  void boolean(std::string_view name, std::optional<bool> value);
  void string(std::string_view name, std::optional<std::string> value);
  gguf::Metadata& metadata() { return *metadata_; }
  // The first integer that does not fit its key.
  const Status& status() const { return status_; }

 private:
  std::string prefix_;
  gguf::Metadata* metadata_;
  Status status_;
};

// A tensor that config.json alone defines (RoPE factors).
struct ConfigTensor {
  std::string name;
  std::vector<float> values;
};

struct HfArch {
  std::string_view model_type;
  std::string_view gguf;    // general.architecture
  std::string_view prefix;  // of tensor names, which some checkpoints leave out
  bool rms_norm = true;
  bool rotates = true;
  std::array<std::span<const TensorRule>, 3> rules;
  // What only this family has. An error for a variant that Geist does not compute.
  Status (*extend)(const HfConfig& config, HfShape& shape, Keys& keys,
                   std::vector<ConfigTensor>& tensors) = nullptr;
};

// Null when not known.
const HfArch* find_hf_arch(std::string_view model_type);
// The first that becomes this general.architecture: tensor names and layouts of all of them agree.
const HfArch* find_hf_arch_of_gguf(std::string_view architecture);
// "llama, mistral, ..." for messages.
std::string hf_arch_names();

// The numbers that every family has, whatever it calls them.
Result<HfShape> read_hf_shape(const HfConfig& config);
Status write_common_keys(const HfArch& arch, const HfConfig& config, const HfShape& shape,
                         Keys& keys, std::vector<ConfigTensor>& tensors);

}  // namespace geist::model
