// Fuzzes SafeTensors::parse. The first byte chooses the mode: raw bytes; the input as header with a
// right length and some data; or entries that a generator builds, of which it may spoil some.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gguf/safetensors.h"

namespace geist::gguf {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

bool parse(std::span<const std::byte> bytes) {
  const auto file = SafeTensors::parse(bytes, "fuzz.safetensors");
  if (!file.ok()) {
    require(file.error().message.find('\n') == std::string::npos, "an error is one line");
    return false;
  }
  uint64_t sum = 0;
  for (const SafeTensor& tensor : file->tensors()) {
    require(file->find(tensor.name) == &tensor, "every tensor is found by its name");
    require(
        static_cast<uint64_t>(tensor.elements() * dtype_bytes(tensor.dtype)) == tensor.data.size(),
        "data has the shape's size");
    if (tensor.data.empty()) continue;
    require(tensor.data.data() >= bytes.data() &&
                tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size(),
            "data lies in the file");
    sum += static_cast<uint64_t>(tensor.data.front()) + static_cast<uint64_t>(tensor.data.back());
  }
  volatile uint64_t sink = sum;
  static_cast<void>(sink);
  return true;
}

std::string with_length(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string out(reinterpret_cast<const char*>(&size), 8);
  return out + header + std::string(data_bytes, '\1');
}

// Each tensor takes four bytes of input: dtype, two dimensions, what to spoil.
void generated(const uint8_t* data, size_t size) {
  constexpr Dtype kDtypes[] = {Dtype::kF32, Dtype::kF16, Dtype::kBF16,
                               Dtype::kI64, Dtype::kU8,  Dtype::kBool};
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  uint64_t end = 0;
  bool spoiled = false;
  for (size_t i = 0; i + 4 <= size && i < 4 * 16; i += 4) {
    const Dtype dtype = kDtypes[data[i] % std::size(kDtypes)];
    const uint64_t rows = data[i + 1] % 9, columns = data[i + 2] % 9;
    uint64_t begin = end, stop = end + rows * columns * static_cast<uint64_t>(dtype_bytes(dtype));
    const uint8_t spoil = data[i + 3];
    end = stop;
    if (spoil >= 0xf0) {
      spoiled = true;
      if (spoil % 4 == 0) begin = ~0ull;
      if (spoil % 4 == 1) stop += spoil;
      if (spoil % 4 == 2) stop = 1ull << 62;
      if (spoil % 4 == 3) begin = stop + 1;
    }
    header += ",\"t" + std::to_string(i) + "\":{\"dtype\":\"" + std::string(dtype_name(dtype)) +
              "\",\"shape\":[" + std::to_string(rows) + "," + std::to_string(columns) +
              "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(stop) + "]}";
  }
  const std::string bytes = with_length(header + "}", end);
  const bool parsed = parse(std::as_bytes(std::span(bytes)));
  require(parsed != spoiled, "a valid file parses, a spoiled one does not");
}

}  // namespace
}  // namespace geist::gguf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::gguf;
  if (size == 0) return 0;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  if (data[0] % 3 == 0) {
    parse(std::as_bytes(rest));
  } else if (data[0] % 3 == 1) {
    const std::string bytes = with_length(
        std::string(reinterpret_cast<const char*>(rest.data()), rest.size()), data[0] / 3);
    parse(std::as_bytes(std::span(bytes)));
  } else {
    generated(rest.data(), rest.size());
  }
  return 0;
}
