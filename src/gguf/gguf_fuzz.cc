// Fuzzes File::parse. The first byte chooses the mode: raw bytes, or a file that a generator builds
// out of the input, valid but for one field that it may spoil. Random bytes alone rarely get past
// the first key; the generator reaches every check. What parses must hold what a File promises, and
// what the generator did not spoil must parse.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "gguf/gguf.h"
#include "gguf/raw_gguf.h"

namespace geist::gguf {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

// Numbers out of the fuzzer's bytes; zeros after the end.
class Input {
 public:
  explicit Input(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  template <typename T>
  T number() {
    T value{};
    const size_t size = std::min(sizeof(T), bytes_.size());
    if (size > 0) std::memcpy(&value, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return value;
  }
  uint64_t below(uint64_t limit) { return number<uint8_t>() % limit; }
  std::string text(size_t size) {
    std::string out;
    while (out.size() < size) out += static_cast<char>(number<uint8_t>());
    return out;
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::span<const uint8_t> bytes_;
};

// The fields that the generator can spoil: the n-th that it writes is replaced.
class Generator {
 public:
  explicit Generator(std::span<const uint8_t> bytes) : in_(bytes) {
    spoil_at_ = in_.below(4) == 0 ? -1 : static_cast<int64_t>(in_.number<uint8_t>());
    spoil_with_ = in_.number<uint64_t>();
  }

  RawGguf build() {
    const uint64_t keys = in_.below(6), tensors = in_.below(6);
    out_.text("GGUF");
    u32(in_.below(2) == 0 ? 3 : 2);
    u64(tensors);
    u64(keys + 1);
    string("general.alignment");
    u32(static_cast<uint32_t>(ValueType::kU32));
    u32(static_cast<uint32_t>(alignment_));
    for (uint64_t i = 0; i < keys; ++i) pair(i);
    uint64_t offset = 0;
    std::vector<uint64_t> sizes;
    for (uint64_t i = 0; i < tensors; ++i) offset += tensor(i, offset);
    out_.pad(alignment_);
    out_.zeros(offset);
    return std::move(out_);
  }
  bool spoiled() const { return spoiled_; }

 private:
  template <typename T>
  T spoil(T value) {
    if (field_++ != spoil_at_) return value;
    spoiled_ = true;
    return static_cast<T>(spoil_with_);
  }
  void u32(uint32_t value) { out_.u32(spoil(value)); }
  void u64(uint64_t value) { out_.u64(spoil(value)); }
  void string(const std::string& text) {
    u64(text.size());
    out_.text(text);
  }

  void scalar(ValueType type) {
    switch (type) {
      case ValueType::kU8:
      case ValueType::kI8:
        out_.u8(in_.number<uint8_t>());
        break;
      case ValueType::kBool:
        out_.u8(spoil(in_.number<uint8_t>() % 2));
        break;
      case ValueType::kU16:
      case ValueType::kI16:
        out_.number(in_.number<uint16_t>());
        break;
      case ValueType::kU32:
      case ValueType::kI32:
      case ValueType::kF32:
        out_.u32(in_.number<uint32_t>());
        break;
      case ValueType::kString:
        string(in_.text(in_.below(9)));
        break;
      default:
        out_.u64(in_.number<uint64_t>());
        break;
    }
  }

  void pair(uint64_t index) {
    string("key." + std::to_string(index));
    const auto type = static_cast<ValueType>(in_.below(13));
    u32(static_cast<uint32_t>(type));
    if (type != ValueType::kArray) return scalar(type);
    auto element = static_cast<ValueType>(in_.below(13));
    if (element == ValueType::kArray) element = ValueType::kString;
    u32(static_cast<uint32_t>(element));
    const uint64_t count = in_.below(5);
    u64(count);
    for (uint64_t i = 0; i < count; ++i) scalar(element);
  }

  // Returns the bytes that the tensor takes, padding included.
  uint64_t tensor(uint64_t index, uint64_t offset) {
    static constexpr kernels::TensorType kTypes[] = {
        kernels::TensorType::kF32, kernels::TensorType::kF16, kernels::TensorType::kQ4_0,
        kernels::TensorType::kQ6_K};
    const kernels::TensorTypeInfo& info = kernels::tensor_type_info(kTypes[in_.below(4)]);
    const uint32_t dims = 1 + static_cast<uint32_t>(in_.below(4));
    string("t" + std::to_string(index));
    u32(dims);
    uint64_t blocks = 1 + in_.below(3), bytes = blocks * static_cast<uint64_t>(info.block_bytes);
    u64(blocks * static_cast<uint64_t>(info.block_size));
    for (uint32_t i = 1; i < dims; ++i) {
      const uint64_t dim = 1 + in_.below(3);
      bytes *= dim;
      u64(dim);
    }
    u32(static_cast<uint32_t>(info.type));
    u64(offset);
    return (bytes + alignment_ - 1) / alignment_ * alignment_;
  }

  Input in_;
  RawGguf out_;
  uint64_t alignment_ = 32;
  int64_t field_ = 0, spoil_at_ = -1;
  uint64_t spoil_with_ = 0;
  bool spoiled_ = false;
};

void touch_metadata(const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    require(!key.empty(), "keys are not empty");
    const int accepted = get_int(metadata, key).ok() + get_float(metadata, key).ok() +
                         get_bool(metadata, key).ok() + get_string(metadata, key).ok() +
                         get_strings(metadata, key).ok() + get_floats(metadata, key).ok() +
                         get_ints(metadata, key).ok();
    require(accepted <= 1, "a value has one kind");
  }
}

void touch_tensors(const File& file, std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const Tensor& tensor : file.tensors()) {
    require(file.find(tensor.name) == &tensor, "every tensor is found by its name");
    require(tensor.elements() > 0 && tensor.elements() == tensor.rows() * tensor.columns(),
            "shapes multiply");
    const auto row = kernels::row_bytes(tensor.type, tensor.columns());
    require(row && static_cast<uint64_t>(*row * tensor.rows()) == tensor.data.size(),
            "data has the shape's size");
    require(tensor.data.data() >= bytes.data() &&
                tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size(),
            "data lies in the file");
    sum += static_cast<uint64_t>(tensor.data.front()) + static_cast<uint64_t>(tensor.data.back());
  }
  volatile uint64_t sink = sum;
  static_cast<void>(sink);
}

bool parse(std::span<const std::byte> bytes) {
  const auto file = File::parse(bytes, "fuzz.gguf");
  if (!file.ok()) {
    require(file.error().message.find('\n') == std::string::npos, "an error is one line");
    return false;
  }
  touch_metadata(file->metadata());
  touch_tensors(*file, bytes);
  return true;
}

}  // namespace
}  // namespace geist::gguf

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::gguf;
  if (size == 0) return 0;
  const std::span<const uint8_t> rest(data + 1, size - 1);
  if (data[0] % 2 == 0) {
    parse(std::as_bytes(rest));
    return 0;
  }
  Generator generator(rest);
  const RawGguf raw = generator.build();
  const bool parsed = parse(raw.span());
  require(parsed || generator.spoiled(), "a valid file parses");
  return 0;
}
