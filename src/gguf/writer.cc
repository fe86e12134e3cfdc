// Writing GGUF v3. The header is built in memory (it holds the vocabulary, tens of megabytes at
// most); tensors are streamed after it.
#include <limits>
#include <set>

#include "base/checked.h"
#include "gguf/gguf.h"
#include "gguf/header.h"
#include "gguf/wire.h"

namespace geist::gguf {
namespace {

class Encoder {
 public:
  template <typename T>
  void number(T value) {
    if constexpr (std::same_as<T, bool>) {
      number<uint8_t>(value ? 1 : 0);
    } else {
      char bytes[sizeof(T)];
      std::memcpy(bytes, &value, sizeof(T));
      out_.append(bytes, sizeof(T));
    }
  }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    out_ += text;
  }
  void type(ValueType type) { number(static_cast<uint32_t>(type)); }

  // False when the value does not hold what its type says.
  bool value(const Value& v) {
    type(v.type);
    if (v.type == ValueType::kString)
      return held<std::string>(v, [&](const auto& text) { string(text); });
    if (v.type == ValueType::kArray) return array(v);
    return with_scalar(v.type, [&](auto zero) {
      using T = decltype(zero);
      return held<Held<T>>(v, [&](Held<T> x) { number(static_cast<T>(x)); });
    });
  }

  void pad(uint64_t alignment) {
    out_.append((alignment - out_.size() % alignment) % alignment, '\0');
  }
  const std::string& bytes() const { return out_; }

 private:
  template <typename T, typename F>
  static bool held(const Value& v, F&& f) {
    const T* data = std::get_if<T>(&v.data);
    if (data != nullptr) f(*data);
    return data != nullptr;
  }

  bool array(const Value& v) {
    type(v.element_type);
    if (v.element_type == ValueType::kString)
      return held<std::vector<std::string>>(v, [&](const auto& all) {
        number<uint64_t>(all.size());
        for (const std::string& text : all) string(text);
      });
    if (v.element_type == ValueType::kArray) return false;
    return with_scalar(v.element_type, [&](auto zero) {
      using T = decltype(zero);
      return held<std::vector<Held<T>>>(v, [&](const auto& all) {
        number<uint64_t>(all.size());
        for (const Held<T> x : all) number(static_cast<T>(x));
      });
    });
  }

  std::string out_;
};

uint64_t padding(uint64_t size) {
  return (Writer::kAlignment - size % Writer::kAlignment) % Writer::kAlignment;
}

// Bytes of a tensor's data, or what is wrong with its shape.
Result<uint64_t> data_bytes(const TensorToWrite& tensor) {
  const auto fault = [&](const char* what) {
    return errorf("tensor %s: %s", quote_name(tensor.name).c_str(), what);
  };
  if (tensor.name.empty() || tensor.name.size() > kTensorNameBytesMax)
    return fault("its name is empty or too long");
  if (tensor.dims.empty() || tensor.dims.size() > kDimensionsMax)
    return fault("it must have 1 to 4 dimensions");
  const auto row = kernels::row_bytes(tensor.type, tensor.dims[0]);
  if (!row) return fault("its rows are not a whole number of blocks");
  std::optional<int64_t> all = row;
  for (size_t i = 0; i < tensor.dims.size(); ++i) {
    if (tensor.dims[i] <= 0) return fault("its dimensions must be positive");
    if (i > 0 && all) all = checked_mul(*all, tensor.dims[i]);
  }
  if (!all || *all > std::numeric_limits<int64_t>::max() / 2) return fault("it is too large");
  return static_cast<uint64_t>(*all);
}

Status encode_metadata(const Metadata& metadata, Encoder* out) {
  for (const auto& [key, value] : metadata) {
    if (key == kAlignmentKey) continue;  // this writer has its own, the default
    out->string(key);
    if (!out->value(value))
      return errorf("key %s: the value does not match its type", quote_name(key).c_str());
  }
  return {};
}

Status encode_tensors(const std::vector<TensorToWrite>& tensors, Encoder* out) {
  std::set<std::string_view> names;
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    GEIST_ASSIGN(const uint64_t size, data_bytes(tensor));
    if (!names.insert(tensor.name).second)
      return errorf("tensor %s is there twice", quote_name(tensor.name).c_str());
    out->string(tensor.name);
    out->number(static_cast<uint32_t>(tensor.dims.size()));
    for (const int64_t dim : tensor.dims) out->number(static_cast<uint64_t>(dim));
    out->number(static_cast<uint32_t>(tensor.type));
    out->number(offset);
    const auto end = checked_add(offset, size + padding(size));
    if (!end)
      return errorf("tensor %s: the file would be too large", quote_name(tensor.name).c_str());
    offset = *end;
  }
  return {};
}

}  // namespace

Result<Writer> Writer::create(const std::string& path, const Metadata& metadata,
                              std::vector<TensorToWrite> tensors) {
  const auto located = [&](const Status& status) {
    return errorf("%s: cannot write: %s", path.c_str(), status.error().message.c_str());
  };
  Encoder header;
  for (const char c : kMagic) header.number(c);
  header.number(kVersion);
  header.number<uint64_t>(tensors.size());
  header.number<uint64_t>(metadata.size() - metadata.count(kAlignmentKey));
  if (const Status status = encode_metadata(metadata, &header); !status.ok())
    return located(status);
  if (const Status status = encode_tensors(tensors, &header); !status.ok()) return located(status);
  header.pad(kAlignment);
  GEIST_ASSIGN(AtomicFile file, AtomicFile::create(path));
  GEIST_TRY(file.write(header.bytes()));
  return Writer(std::move(file), std::move(tensors));
}

Status Writer::write_tensor(std::span<const std::byte> data) {
  GEIST_CHECK(next_ < tensors_.size());
  const TensorToWrite& tensor = tensors_[next_++];
  GEIST_ASSIGN(const uint64_t size, data_bytes(tensor));
  GEIST_CHECK(data.size() == size);
  GEIST_TRY(file_.write(data));
  static constexpr std::byte kZeros[kAlignment] = {};
  return file_.write(std::span(kZeros).first(padding(size)));
}

Status Writer::commit() {
  GEIST_CHECK(next_ == tensors_.size());
  return file_.commit();
}

}  // namespace geist::gguf
