#include "model/registry.h"

#include <array>

namespace geist::model {

// One line an architecture: the function that arch_*.cc defines for it.
// docs/adding-an-architecture.md
#define GEIST_ARCHITECTURES(ARCHITECTURE) \
  ARCHITECTURE(bert)                      \
  ARCHITECTURE(bloom)                     \
  ARCHITECTURE(command_r)                 \
  ARCHITECTURE(falcon)                    \
  ARCHITECTURE(gemma)                     \
  ARCHITECTURE(gemma2)                    \
  ARCHITECTURE(gemma3)                    \
  ARCHITECTURE(gpt2)                      \
  ARCHITECTURE(gpt_oss)                   \
  ARCHITECTURE(gptneox)                   \
  ARCHITECTURE(granite)                   \
  ARCHITECTURE(granitemoe)                \
  ARCHITECTURE(llama)                     \
  ARCHITECTURE(mpt)                       \
  ARCHITECTURE(nomic_bert)                \
  ARCHITECTURE(olmo2)                     \
  ARCHITECTURE(olmoe)                     \
  ARCHITECTURE(phi2)                      \
  ARCHITECTURE(phi3)                      \
  ARCHITECTURE(qwen2)                     \
  ARCHITECTURE(qwen2moe)                  \
  ARCHITECTURE(qwen3)                     \
  ARCHITECTURE(qwen3moe)                  \
  ARCHITECTURE(smollm3)                   \
  ARCHITECTURE(stablelm)                  \
  ARCHITECTURE(starcoder2)

#define GEIST_DECLARE(id) Architecture architecture_##id();
GEIST_ARCHITECTURES(GEIST_DECLARE)
#undef GEIST_DECLARE

std::span<const Architecture> architectures() {
#define GEIST_LIST(id) architecture_##id(),
  static const auto kAll = std::to_array<Architecture>({GEIST_ARCHITECTURES(GEIST_LIST)});
#undef GEIST_LIST
  return kAll;
}

const Architecture* find_architecture(std::string_view name) {
  for (const Architecture& a : architectures())
    if (a.name == name) return &a;
  return nullptr;
}

}  // namespace geist::model
