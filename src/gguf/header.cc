// Parsing a GGUF header (specification: ggml repository, docs/gguf.md).
//
//   magic "GGUF", version u32, tensor count u64, key count u64,
//   key count  x { key string, value type u32, value },
//   tensor count x { name string, dimension count u32, dimensions u64[], type u32, offset u64 },
//   padding to general.alignment, tensor data
//
// A string is a u64 length and bytes; an array is an element type, a u64 count and elements.
// Nothing is allocated before the bytes that fill it are known to be there, and no sum or product
// of numbers from the file is formed without a check.
#include "gguf/header.h"

#include <algorithm>
#include <cinttypes>
#include <limits>

#include "base/checked.h"
#include "base/unicode.h"
#include "gguf/wire.h"

namespace geist::gguf {
namespace {

constexpr uint64_t kPlausibleFileBytes = 1ull << 50;

// Type numbers of the format that Geist does not read, so that an error can name them.
struct UnreadType {
  uint32_t number;
  const char* name;
};
constexpr UnreadType kUnreadTypes[] = {
    {4, "Q4_2"},        {5, "Q4_3"},        {9, "Q8_1"},        {15, "Q8_K"},  {19, "IQ1_S"},
    {24, "I8"},         {25, "I16"},        {27, "I64"},        {28, "F64"},   {29, "IQ1_M"},
    {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},   {33, "Q4_0_8_8"},   {34, "TQ1_0"}, {35, "TQ2_0"},
    {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"}, {39, "MXFP4"},
};

const char* unread_type_name(uint32_t number) {
  for (const UnreadType& type : kUnreadTypes)
    if (type.number == number) return type.name;
  return "unknown";
}

class Parser {
 public:
  Parser(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes),
        file_(name),
        in_(bytes.first(std::min<size_t>(bytes.size(), kHeaderBytesMax))) {}

  Result<Header> parse() {
    uint64_t tensor_count = 0, key_count = 0;
    GEIST_TRY(read_preamble(&tensor_count, &key_count));
    for (uint64_t i = 0; i < key_count; ++i) GEIST_TRY(read_pair());
    GEIST_TRY(read_alignment());
    offsets_.reserve(tensor_count);
    header_.tensors.reserve(tensor_count);
    for (uint64_t i = 0; i < tensor_count; ++i) GEIST_TRY(read_tensor());
    if (tensor_count > 0) GEIST_TRY(place_tensors());
    return std::move(header_);
  }

 private:
  // ---- errors
  // -------------------------------------------------------------------------------------
  Error damaged(size_t at, const std::string& what) const {
    return errorf("%s: damaged at byte %zu: %s; download it again", file_.c_str(), at,
                  what.c_str());
  }

  // The next `size` bytes, which hold `what`, are not all there.
  Error cut_short(uint64_t size, const std::string& what) const {
    const auto needed = checked_add<uint64_t>(in_.offset(), size);
    if (!needed || *needed > kPlausibleFileBytes)
      return damaged(in_.offset(), what + " claims " + std::to_string(size) + " bytes");
    if (*needed <= bytes_.size())
      return damaged(in_.offset(), what + " makes the header larger than the " +
                                       std::to_string(kHeaderBytesMax) +
                                       " bytes that are accepted");
    return errorf("%s: the file is cut short at byte %zu of at least %" PRIu64
                  " needed (reading %s at byte %zu); download it again",
                  file_.c_str(), bytes_.size(), *needed, what.c_str(), in_.offset());
  }

  Error not_gguf(std::string_view magic) const {
    const auto starts = [&](std::string_view text) {
      return bytes_.size() >= text.size() &&
             std::memcmp(bytes_.data(), text.data(), text.size()) == 0;
    };
    const char* hint = "give the path of a .gguf file";
    if (starts("version https://git-lfs"))
      hint = "this is a Git LFS pointer, fetch the real file with 'git lfs pull'";
    if (starts("<"))
      hint = "this is a web page, not the file that its link promised; download it again";
    if (starts("PK"))
      hint = "this is a zip archive or PyTorch checkpoint; convert it to GGUF first";
    if (starts("ggjt") || starts("tjgg") || starts("lmgg") || starts("fmgg"))
      hint = "this is the format before GGUF; get the model as GGUF";
    return errorf("%s: not a GGUF file (it starts with %s); %s", file_.c_str(),
                  quote_name(magic).c_str(), hint);
  }

  // ---- pieces
  // -------------------------------------------------------------------------------------
  Status read_preamble(uint64_t* tensor_count, uint64_t* key_count) {
    if (bytes_.empty()) return errorf("%s: the file is empty; download it again", file_.c_str());
    const std::string_view start(reinterpret_cast<const char*>(bytes_.data()),
                                 std::min<size_t>(4, bytes_.size()));
    if (!kMagic.starts_with(start)) return not_gguf(start);
    std::string_view magic;
    if (!in_.take_bytes(kMagic.size(), &magic)) return cut_short(kMagic.size(), "the magic number");
    if (!in_.take(&header_.version)) return cut_short(4, "the version");
    if (header_.version > 0xffff)
      return errorf("%s: a big-endian GGUF file; get the little-endian one", file_.c_str());
    if (header_.version < 2 || header_.version > kVersion)
      return errorf(
          "%s: GGUF version %u is not supported (2 and 3 are); get a newer conversion of the model",
          file_.c_str(), header_.version);
    if (!in_.take(tensor_count)) return cut_short(8, "the number of tensors");
    if (!in_.take(key_count)) return cut_short(8, "the number of keys");
    if (*tensor_count > kTensorCountMax)
      return damaged(8, "it claims " + std::to_string(*tensor_count) + " tensors");
    if (*key_count > kKeyCountMax)
      return damaged(16, "it claims " + std::to_string(*key_count) + " keys");
    constexpr uint64_t kPairBytesMin = 8 + 1 + 4 + 1, kTensorBytesMin = 8 + 1 + 4 + 8 + 4 + 8;
    const uint64_t least = *tensor_count * kTensorBytesMin + *key_count * kPairBytesMin;
    if (in_.remaining() < least) return cut_short(least, "the keys and tensors that it announces");
    return {};
  }

  Status read_string(std::string_view* out, uint64_t size_max, const std::string& what) {
    const size_t at = in_.offset();
    uint64_t size = 0;
    if (!in_.take(&size)) return cut_short(8, "the length of " + what);
    if (size > size_max)
      return damaged(at, what + " claims " + std::to_string(size) + " bytes, more than the " +
                             std::to_string(size_max) + " that are accepted");
    if (!in_.take_bytes(size, out)) return cut_short(size, what);
    return {};
  }

  // A key or a tensor's name: what other code looks up and prints.
  Status read_name(std::string_view* out, uint64_t size_max, const std::string& what) {
    const size_t at = in_.offset();
    GEIST_TRY(read_string(out, size_max, what));
    if (out->empty()) return damaged(at, what + " is empty");
    if (out->find('\0') != std::string_view::npos || !is_valid_utf8(*out))
      return damaged(at, what + " is not UTF-8 text: " + quote_name(*out));
    return {};
  }

  Status read_pair() {
    const size_t at = in_.offset();
    std::string_view key;
    GEIST_TRY(read_name(&key, kKeyBytesMax, "key " + std::to_string(header_.metadata.size())));
    if (header_.metadata.contains(key))
      return damaged(at, "the key " + quote_name(key) + " is there twice");
    Value value;
    GEIST_TRY(read_type(&value.type, key));
    if (value.type == ValueType::kString) {
      std::string_view text;
      GEIST_TRY(read_string(&text, kHeaderBytesMax, "the value of " + quote_name(key)));
      value.data = std::string(text);
    } else if (value.type == ValueType::kArray) {
      GEIST_TRY(read_array(&value, key));
    } else {
      const Status status = with_scalar(value.type, [&](auto zero) {
        using T = decltype(zero);
        Held<T> held{};
        Status read = read_scalar<T>(&held, key);
        value.data = held;
        return read;
      });
      GEIST_TRY(status);
    }
    header_.metadata.emplace(key, std::move(value));
    return {};
  }

  Status read_type(ValueType* out, std::string_view key) {
    const size_t at = in_.offset();
    uint32_t number = 0;
    if (!in_.take(&number)) return cut_short(4, "the type of " + quote_name(key));
    if (number > static_cast<uint32_t>(ValueType::kF64))
      return damaged(at, "the key " + quote_name(key) + " has the unknown value type " +
                             std::to_string(number));
    *out = static_cast<ValueType>(number);
    return {};
  }

  Error not_a_bool(std::string_view key) const {
    return damaged(in_.offset() - 1,
                   "a value of " + quote_name(key) + " is neither false (0) nor true (1)");
  }

  template <typename T>
  Status read_scalar(Held<T>* out, std::string_view key) {
    Wire<T> number{};
    if (!in_.take(&number)) return cut_short(sizeof(T), "the value of " + quote_name(key));
    if (std::same_as<T, bool> && number > 1) return not_a_bool(key);
    *out = static_cast<Held<T>>(number);
    return {};
  }

  Status read_array(Value* value, std::string_view key) {
    GEIST_TRY(read_type(&value->element_type, key));
    const size_t at = in_.offset();
    if (value->element_type == ValueType::kArray)
      return damaged(
          at - 4, "the key " + quote_name(key) + " is an array of arrays, which is not supported");
    uint64_t count = 0;
    if (!in_.take(&count)) return cut_short(8, "the length of " + quote_name(key));
    if (count > kArrayElementsMax - elements_)
      return damaged(
          at, "the array " + quote_name(key) + " claims " + std::to_string(count) + " elements");
    elements_ += count;
    if (value->element_type == ValueType::kString) return read_strings(value, count, key);
    return with_scalar(value->element_type, [&](auto zero) -> Status {
      using T = decltype(zero);
      if (in_.remaining() < count * sizeof(T))
        return cut_short(count * sizeof(T), "the array " + quote_name(key));
      std::vector<Held<T>> held(count);
      for (uint64_t i = 0; i < count; ++i) {
        Wire<T> number{};
        in_.take(&number);
        if (std::same_as<T, bool> && number > 1) return not_a_bool(key);
        held[i] = static_cast<Held<T>>(number);
      }
      value->data = std::move(held);
      return {};
    });
  }

  Status read_strings(Value* value, uint64_t count, std::string_view key) {
    if (in_.remaining() < count * 8) return cut_short(count * 8, "the array " + quote_name(key));
    std::vector<std::string> strings;
    strings.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t size = 0;
      std::string_view text;
      if (!in_.take(&size)) return cut_short(8, "an element of " + quote_name(key));
      if (!in_.take_bytes(size, &text)) return cut_short(size, "an element of " + quote_name(key));
      strings.emplace_back(text);
    }
    value->data = std::move(strings);
    return {};
  }

  Status read_alignment() {
    const auto entry = header_.metadata.find(kAlignmentKey);
    if (entry == header_.metadata.end()) return {};
    if (entry->second.type != ValueType::kU32)
      return errorf(
          "%s: general.alignment is of type %.*s, it must be u32; the file is damaged, download it "
          "again",
          file_.c_str(), static_cast<int>(value_type_name(entry->second.type).size()),
          value_type_name(entry->second.type).data());
    alignment_ = std::get<uint64_t>(entry->second.data);
    if (!std::has_single_bit(alignment_) || alignment_ < kAlignmentMin ||
        alignment_ > kAlignmentMax)
      return errorf("%s: general.alignment is %" PRIu64 ", it must be a power of two from %" PRIu64
                    " to %" PRIu64 "; the file is damaged, download it again",
                    file_.c_str(), alignment_, kAlignmentMin, kAlignmentMax);
    return {};
  }

  Status read_tensor() {
    const size_t at = in_.offset();
    Tensor tensor;
    std::string_view name;
    GEIST_TRY(read_name(&name, kTensorNameBytesMax,
                        "the name of tensor " + std::to_string(header_.tensors.size())));
    tensor.name = name;
    GEIST_TRY(read_dims(&tensor));
    uint32_t number = 0;
    uint64_t offset = 0;
    if (!in_.take(&number)) return cut_short(4, "the type of tensor " + quote_name(name));
    const auto info = kernels::tensor_type_info(number);
    if (!info)
      return errorf(
          "%s: tensor %s (byte %zu): type %u (%s) is not supported; get the model in another "
          "quantisation",
          file_.c_str(), quote_name(name).c_str(), at, number, unread_type_name(number));
    tensor.type = info->type;
    if (tensor.columns() % info->block_size != 0)
      return damaged(
          at, "tensor " + quote_name(name) + " has rows of " + std::to_string(tensor.columns()) +
                  " elements, not a multiple of the " + std::to_string(info->block_size) +
                  " of type " + std::string(info->name));
    if (!in_.take(&offset)) return cut_short(8, "the offset of tensor " + quote_name(name));
    if (offset % alignment_ != 0)
      return damaged(in_.offset() - 8,
                     "the offset " + std::to_string(offset) + " of tensor " + quote_name(name) +
                         " is not a multiple of the alignment " + std::to_string(alignment_));
    offsets_.push_back(offset);
    header_.tensors.push_back(std::move(tensor));
    return {};
  }

  Status read_dims(Tensor* tensor) {
    const size_t at = in_.offset();
    uint32_t count = 0;
    if (!in_.take(&count))
      return cut_short(4, "the dimensions of tensor " + quote_name(tensor->name));
    if (count < 1 || count > kDimensionsMax)
      return damaged(at, "tensor " + quote_name(tensor->name) + " has " + std::to_string(count) +
                             " dimensions, it must have 1 to " + std::to_string(kDimensionsMax));
    int64_t elements = 1;
    for (uint32_t i = 0; i < count; ++i) {
      uint64_t dim = 0;
      if (!in_.take(&dim))
        return cut_short(8, "the dimensions of tensor " + quote_name(tensor->name));
      if (dim == 0 || dim > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return damaged(in_.offset() - 8, "dimension " + std::to_string(i) + " of tensor " +
                                             quote_name(tensor->name) + " is " +
                                             std::to_string(static_cast<int64_t>(dim)));
      const auto product = checked_mul<int64_t>(elements, static_cast<int64_t>(dim));
      if (!product)
        return damaged(at, "the dimensions of tensor " + quote_name(tensor->name) + " overflow");
      elements = *product;
      tensor->dims.push_back(static_cast<int64_t>(dim));
    }
    return {};
  }

  // Bytes of a tensor's data; nothing on overflow.
  static std::optional<uint64_t> data_bytes(const Tensor& tensor) {
    const auto row = kernels::row_bytes(tensor.type, tensor.columns());
    if (!row) return std::nullopt;
    const auto all = checked_mul<int64_t>(*row, tensor.rows());
    if (!all) return std::nullopt;
    return static_cast<uint64_t>(*all);
  }

  // Gives every tensor its bytes: inside the file, none over another.
  Status place_tensors() {
    const auto unaligned = checked_add<uint64_t>(in_.offset(), alignment_ - 1);
    if (!unaligned) return damaged(in_.offset(), "the padding overflows");
    const uint64_t begin = *unaligned / alignment_ * alignment_;
    std::vector<Extent> extents;
    extents.reserve(header_.tensors.size());
    Extent last{};
    for (size_t i = 0; i < header_.tensors.size(); ++i) {
      const auto size = data_bytes(header_.tensors[i]);
      const auto first = checked_add<uint64_t>(begin, offsets_[i]);
      const auto end = size && first ? checked_add<uint64_t>(*first, *size) : std::nullopt;
      if (!end || *end > kPlausibleFileBytes)
        return damaged(in_.offset(), "the size or offset of tensor " +
                                         quote_name(header_.tensors[i].name) + " overflows");
      extents.push_back({*first, *end, i});
      if (*end > last.end) last = extents.back();
    }
    if (last.end > bytes_.size())
      return errorf("%s: the file is cut short at byte %zu of %" PRIu64
                    " needed (tensor %s ends there); download it again",
                    file_.c_str(), bytes_.size(), last.end,
                    quote_name(header_.tensors[last.tensor].name).c_str());
    for (const Extent& extent : extents)
      header_.tensors[extent.tensor].data = bytes_.subspan(extent.begin, extent.end - extent.begin);
    return refuse_overlap(std::move(extents));
  }

  struct Extent {
    uint64_t begin = 0, end = 0;
    size_t tensor = 0;
  };

  Status refuse_overlap(std::vector<Extent> extents) const {
    std::sort(extents.begin(), extents.end(),
              [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
    for (size_t i = 1; i < extents.size(); ++i)
      if (extents[i].begin < extents[i - 1].end)
        return damaged(extents[i].begin,
                       "the data of tensors " +
                           quote_name(header_.tensors[extents[i - 1].tensor].name) + " and " +
                           quote_name(header_.tensors[extents[i].tensor].name) + " overlap");
    return {};
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  Cursor in_;
  Header header_;
  uint64_t alignment_ = kDefaultAlignment;
  uint64_t elements_ = 0;  // of all arrays so far
  std::vector<uint64_t> offsets_;
};

}  // namespace

Result<Header> parse_header(std::span<const std::byte> bytes, const std::string& name) {
  return Parser(bytes, name).parse();
}

std::string quote_name(std::string_view name) {
  constexpr size_t kBytesMax = 80;
  std::string out = "'";
  for (size_t i = 0; i < name.size() && out.size() < kBytesMax;) {
    const CodePoint c = decode_utf8(name, i);
    if (c.valid && !is_control(c.value)) {
      out += name.substr(i, c.length);
      i += c.length;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned char>(name[i++]));
      out += escape;
    }
    if (out.size() >= kBytesMax && i < name.size()) out += "...";
  }
  return out + "'";
}

}  // namespace geist::gguf
