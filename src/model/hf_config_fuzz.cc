// Fuzzes what config.json can say: any text as the configuration of every architecture that is
// known.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "model/hf_arch.h"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

using namespace geist;

Status read(const model::HfConfig& config) {
  const std::string type = config.string({"model_type"}).value_or("llama");
  const model::HfArch* arch = model::find_hf_arch(type);
  if (arch == nullptr) return errorf("unknown");
  GEIST_ASSIGN(model::HfShape shape, model::read_hf_shape(config));
  require(shape.heads > 0 && shape.kv_heads > 0 && shape.kv_heads <= shape.heads,
          "heads are in range");
  gguf::Metadata metadata;
  model::Keys keys(arch->gguf, &metadata);
  std::vector<model::ConfigTensor> tensors;
  GEIST_TRY(model::write_common_keys(*arch, config, shape, keys, tensors));
  if (arch->extend != nullptr) GEIST_TRY(arch->extend(config, shape, keys, tensors));
  require(metadata.contains("general.architecture"), "the architecture is named");
  return keys.status();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = model::HfConfig::parse(
      std::string_view(reinterpret_cast<const char*>(data), size), "config.json");
  const Status status = config.ok() ? read(*config) : Status(config.error());
  if (!status.ok())
    require(status.error().message.find('\n') == std::string::npos, "an error is one line");
  return 0;
}
