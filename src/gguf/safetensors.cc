// Reading safetensors. The format asks that tensors fill the data exactly: no overlap, no hole,
// nothing after the last. So a header cannot hide bytes, and a duplicate or a wrong size shows.
#include "gguf/safetensors.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/checked.h"
#include "base/json_guard.h"
#include "base/unicode.h"
#include "gguf/wire.h"

namespace geist::gguf {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kHeaderBytesMax = 100'000'000;  // the reference implementation's
constexpr size_t kIndexBytesMax = 100'000'000;
constexpr size_t kTensorCountMax = size_t{1} << 20;
constexpr size_t kDimensionsMax = 8;
constexpr int kJsonDepthMax = 8;  // a header needs 3

struct DtypeInfo {
  Dtype dtype;
  std::string_view name;
  int64_t bytes;
};
constexpr DtypeInfo kDtypes[] = {
    {Dtype::kF64, "F64", 8},   {Dtype::kF32, "F32", 4}, {Dtype::kF16, "F16", 2},
    {Dtype::kBF16, "BF16", 2}, {Dtype::kI64, "I64", 8}, {Dtype::kI32, "I32", 4},
    {Dtype::kI16, "I16", 2},   {Dtype::kI8, "I8", 1},   {Dtype::kU64, "U64", 8},
    {Dtype::kU32, "U32", 4},   {Dtype::kU16, "U16", 2}, {Dtype::kU8, "U8", 1},
    {Dtype::kBool, "BOOL", 1},
};

const DtypeInfo& info_of(Dtype dtype) { return kDtypes[static_cast<size_t>(dtype)]; }

Error damaged(const std::string& file, const std::string& what) {
  return errorf("%s: damaged: %s; download it again", file.c_str(), what.c_str());
}

// Parses JSON that holds no key twice at `unique_depth`. The parser's own rule, last one wins,
// would let two readers see two different files.
Result<Json> parse_json(std::string_view text, const std::string& file, int unique_depth) {
  if (!json_depth_within(text, kJsonDepthMax))
    return damaged(file, "the header is nested too deep");
  std::set<std::string> seen;
  std::string twice;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event != Json::parse_event_t::key || depth != unique_depth) return true;
    const auto& key = parsed.get_ref<const std::string&>();
    if (!seen.insert(key).second) twice = key;
    return true;
  };
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (!json.is_object()) return damaged(file, "the header is not a JSON object");
  if (!twice.empty()) return damaged(file, quote_name(twice) + " is there twice");
  return json;
}

std::optional<int64_t> to_size(const Json& json) {
  if (!json.is_number_unsigned()) return std::nullopt;
  const auto value = json.get<uint64_t>();
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(value);
}

const Json* member(const Json& object, const char* key) {
  const auto entry = object.find(key);
  return entry == object.end() ? nullptr : &*entry;
}

// One entry of the header: a tensor without data yet, and where its data lies.
struct Entry {
  SafeTensor tensor;
  int64_t begin = 0, end = 0;
};

Result<Dtype> read_dtype(const Json& json, const std::string& name, const std::string& file) {
  const Json* dtype = member(json, "dtype");
  if (dtype == nullptr || !dtype->is_string())
    return damaged(file, "tensor " + quote_name(name) + " has no dtype");
  const auto& text = dtype->get_ref<const std::string&>();
  for (const DtypeInfo& info : kDtypes)
    if (info.name == text) return info.dtype;
  return errorf(
      "%s: tensor %s: dtype %s is not supported; get the F16, BF16 or F32 weights of the model",
      file.c_str(), quote_name(name).c_str(), quote_name(text).c_str());
}

// Fills in the shape; returns the bytes that it needs.
Result<int64_t> read_shape(const Json& json, SafeTensor* tensor, const std::string& file) {
  const Json* shape = member(json, "shape");
  const auto fault = [&](const char* what) {
    return damaged(file, "tensor " + quote_name(tensor->name) + what);
  };
  if (shape == nullptr || !shape->is_array()) return fault(" has no shape");
  if (shape->size() > kDimensionsMax) return fault(" has too many dimensions");
  std::optional<int64_t> bytes = info_of(tensor->dtype).bytes;
  for (const Json& item : *shape) {
    const auto dim = to_size(item);
    if (!dim) return fault(" has a dimension that is not a size");
    tensor->shape.push_back(*dim);
    if (bytes) bytes = checked_mul(*bytes, *dim);
    if (!bytes) return fault(" has dimensions that overflow");
  }
  return *bytes;
}

Result<Entry> read_entry(const std::string& name, const Json& json, const std::string& file) {
  Entry entry;
  entry.tensor.name = name;
  const auto fault = [&](const char* what) {
    return damaged(file, "tensor " + quote_name(name) + what);
  };
  if (name.empty() || name.find('\0') != std::string::npos)
    return fault(" has an empty name or one with a zero byte");
  if (!json.is_object()) return fault(" is not described by an object");
  GEIST_ASSIGN(entry.tensor.dtype, read_dtype(json, name, file));
  GEIST_ASSIGN(const int64_t bytes, read_shape(json, &entry.tensor, file));
  const Json* offsets = member(json, "data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2)
    return fault(" has no data_offsets");
  const auto begin = to_size((*offsets)[0]), end = to_size((*offsets)[1]);
  if (!begin || !end || *begin > *end) return fault(" has data_offsets that are not a range");
  if (*end - *begin != bytes)
    return damaged(file, "tensor " + quote_name(name) + " has " + std::to_string(*end - *begin) +
                             " bytes, its shape needs " + std::to_string(bytes));
  entry.begin = *begin;
  entry.end = *end;
  return entry;
}

// Entries must fill the data from the first byte to the last.
Status place(std::vector<Entry>* entries, std::span<const std::byte> data, size_t data_begin,
             const std::string& file) {
  std::sort(entries->begin(), entries->end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  int64_t end = 0;
  for (const Entry& entry : *entries) {
    if (entry.begin != end)
      return damaged(file, "the data of tensor " + quote_name(entry.tensor.name) + " begins at " +
                               std::to_string(entry.begin) + ", the one before it ends at " +
                               std::to_string(end));
    end = entry.end;
  }
  if (static_cast<uint64_t>(end) > data.size())
    return errorf("%s: the file is cut short at byte %zu of %" PRIu64 " needed; download it again",
                  file.c_str(), data_begin + data.size(), data_begin + static_cast<uint64_t>(end));
  if (static_cast<uint64_t>(end) < data.size())
    return damaged(file, std::to_string(data.size() - static_cast<uint64_t>(end)) +
                             " bytes follow the last tensor");
  for (Entry& entry : *entries)
    entry.tensor.data = data.subspan(static_cast<size_t>(entry.begin),
                                     static_cast<size_t>(entry.end - entry.begin));
  return {};
}

Status read_metadata(const Json& json, std::map<std::string, std::string>* out,
                     const std::string& file) {
  if (!json.is_object()) return damaged(file, "__metadata__ is not an object");
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string())
      return damaged(file, "__metadata__ holds something that is not a string: " + quote_name(key));
    out->emplace(key, value.get<std::string>());
  }
  return {};
}

// The header's text, and where the data begins.
Result<std::string_view> header_text(std::span<const std::byte> bytes, const std::string& file) {
  uint64_t size = 0;
  Cursor in(bytes);
  std::string_view text;
  if (!in.take(&size))
    return errorf("%s: the file is cut short at byte %zu of at least 8 needed; download it again",
                  file.c_str(), bytes.size());
  if (size > kHeaderBytesMax)
    return errorf("%s: not a safetensors file, or damaged: its header claims %" PRIu64
                  " bytes, more than the %" PRIu64 " that are accepted; download it again",
                  file.c_str(), size, kHeaderBytesMax);
  if (!in.take_bytes(size, &text))
    return errorf("%s: the file is cut short at byte %zu of at least %" PRIu64
                  " needed; download it again",
                  file.c_str(), bytes.size(), size + 8);
  if (!text.starts_with('{')) return damaged(file, "the header does not begin with '{'");
  if (!is_valid_utf8(text)) return damaged(file, "the header is not UTF-8 text");
  return text;
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

}  // namespace

std::string_view dtype_name(Dtype dtype) { return info_of(dtype).name; }
int64_t dtype_bytes(Dtype dtype) { return info_of(dtype).bytes; }

int64_t SafeTensor::elements() const {
  int64_t product = 1;
  for (const int64_t dim : shape) product *= dim;  // checked when the file was opened
  return product;
}

Result<SafeTensors> SafeTensors::parse(std::span<const std::byte> bytes, const std::string& name) {
  GEIST_ASSIGN(const std::string_view text, header_text(bytes, name));
  GEIST_ASSIGN(const Json header, parse_json(text, name, /*unique_depth=*/1));
  if (header.size() > kTensorCountMax) return damaged(name, "too many tensors");
  SafeTensors out;
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      GEIST_TRY(read_metadata(value, &out.metadata_, name));
      continue;
    }
    GEIST_ASSIGN(Entry entry, read_entry(key, value, name));
    entries.push_back(std::move(entry));
  }
  const size_t data_begin = 8 + text.size();
  GEIST_TRY(place(&entries, bytes.subspan(data_begin), data_begin, name));
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.tensor.name < b.tensor.name; });
  for (Entry& entry : entries) out.tensors_.push_back(std::move(entry.tensor));
  return out;
}

Result<SafeTensors> SafeTensors::open_file(const std::string& path) {
  GEIST_ASSIGN(MappedFile mapped, MappedFile::open(path));
  auto mapping = std::make_shared<const MappedFile>(std::move(mapped));
  GEIST_ASSIGN(SafeTensors out, parse(mapping->bytes(), path));
  out.mappings_.push_back(std::move(mapping));
  return out;
}

Result<SafeTensors> SafeTensors::open_index(const std::string& path) {
  GEIST_ASSIGN(const std::string text, read_file(path, kIndexBytesMax));
  GEIST_ASSIGN(const Json index, parse_json(text, path, /*unique_depth=*/2));
  const Json* weight_map = member(index, "weight_map");
  if (weight_map == nullptr || !weight_map->is_object())
    return damaged(path, "it has no weight_map");
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::map<std::string, SafeTensors> shards;
  SafeTensors out;
  for (const auto& [name, file] : weight_map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get_ref<const std::string&>()))
      return damaged(path, "the file of tensor " + quote_name(name) + " is not a plain file name");
    const auto& file_name = file.get_ref<const std::string&>();
    auto shard = shards.find(file_name);
    if (shard == shards.end()) {
      GEIST_ASSIGN(SafeTensors opened, open_file((folder / file_name).string()));
      for (auto& mapping : opened.mappings_) out.mappings_.push_back(mapping);
      out.metadata_.insert(opened.metadata_.begin(), opened.metadata_.end());
      shard = shards.emplace(file_name, std::move(opened)).first;
    }
    const SafeTensor* tensor = shard->second.find(name);
    if (tensor == nullptr)
      return damaged(path, "tensor " + quote_name(name) + " is not in " + quote_name(file_name));
    out.tensors_.push_back(*tensor);  // the index is ordered by name
  }
  return out;
}

Result<SafeTensors> SafeTensors::open(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  if (!fs::is_directory(path, ignored))
    return path.ends_with(".json") ? open_index(path) : open_file(path);
  const fs::path folder(path);
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (fs::exists(folder / name, ignored)) return open((folder / name).string());
  if (fs::exists(folder / "pytorch_model.bin", ignored) ||
      fs::exists(folder / "pytorch_model.bin.index.json", ignored))
    return errorf(
        "%s: holds only a PyTorch pickle, which could run any code and is not read; get "
        "model.safetensors",
        path.c_str());
  return errorf(
      "%s: neither model.safetensors nor model.safetensors.index.json is there; give a folder that "
      "has one",
      path.c_str());
}

const SafeTensor* SafeTensors::find(std::string_view name) const {
  const auto entry = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const SafeTensor& tensor, std::string_view key) { return tensor.name < key; });
  return entry != tensors_.end() && entry->name == name ? &*entry : nullptr;
}

}  // namespace geist::gguf
