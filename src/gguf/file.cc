// gguf::File: one or several mapped files as one set of tensors.
#include <functional>

#include "base/checked.h"
#include "gguf/gguf.h"
#include "gguf/header.h"
#include "gguf/split.h"
#include "gguf/wire.h"

namespace geist::gguf {
namespace {

using Index = std::map<std::string, size_t, std::less<>>;

// Appends the tensors of one part; a name may come only once over all parts.
Status add_tensors(std::vector<Tensor> part, const std::string& name, std::vector<Tensor>* tensors,
                   Index* index) {
  for (Tensor& tensor : part) {
    if (!index->emplace(tensor.name, tensors->size()).second)
      return errorf("%s: damaged: the tensor %s is there twice; download it again", name.c_str(),
                    quote_name(tensor.name).c_str());
    tensors->push_back(std::move(tensor));
  }
  return {};
}

}  // namespace

int64_t Tensor::elements() const {
  int64_t product = 1;
  for (const int64_t dim : dims) product *= dim;  // checked when the file was opened
  return product;
}

Result<File> File::open(const std::string& path) {
  GEIST_ASSIGN(MappedFile mapped, MappedFile::open(path));
  auto first = std::make_shared<const MappedFile>(std::move(mapped));
  GEIST_ASSIGN(File file, parse(first->bytes(), path));
  file.mappings_.push_back(std::move(first));
  GEIST_ASSIGN(const auto split, read_split(file.metadata_, path));
  if (!split) return file;
  if (split->number != 0) return not_the_first(*split, path);
  for (int64_t number = 1; number < split->count; ++number) {
    GEIST_ASSIGN(const std::string part_path, split_path(path, number, split->count));
    auto mapped_part = MappedFile::open(part_path);
    if (!mapped_part.ok())
      return errorf("%s; all %lld parts must lie in one folder: download this one",
                    mapped_part.error().message.c_str(), static_cast<long long>(split->count));
    auto part = std::make_shared<const MappedFile>(std::move(*mapped_part));
    GEIST_ASSIGN(Header header, parse_header(part->bytes(), part_path));
    GEIST_TRY(check_part(header.metadata, part_path, number, split->count));
    GEIST_TRY(add_tensors(std::move(header.tensors), part_path, &file.tensors_, &file.index_));
    file.file_bytes_ += part->bytes().size();
    file.mappings_.push_back(std::move(part));
  }
  if (split->tensors && *split->tensors != static_cast<int64_t>(file.tensors_.size()))
    return errorf(
        "%s: damaged: the split files hold %zu tensors of %lld announced; download them again",
        path.c_str(), file.tensors_.size(), static_cast<long long>(*split->tensors));
  for (const std::string_view key : {kSplitNumberKey, kSplitCountKey, kSplitTensorsKey})
    if (const auto entry = file.metadata_.find(key); entry != file.metadata_.end())
      file.metadata_.erase(entry);
  return file;
}

Result<File> File::parse(std::span<const std::byte> bytes, const std::string& name) {
  GEIST_ASSIGN(Header header, parse_header(bytes, name));
  File file;
  file.version_ = header.version;
  file.name_ = name;
  file.metadata_ = std::move(header.metadata);
  file.file_bytes_ = bytes.size();
  GEIST_TRY(add_tensors(std::move(header.tensors), name, &file.tensors_, &file.index_));
  return file;
}

File File::assemble(Metadata metadata, std::vector<Tensor> tensors,
                    std::shared_ptr<const void> owned, std::string name,
                    std::vector<std::string> sources) {
  File file;
  file.sources_ = std::move(sources);
  file.name_ = std::move(name);
  file.metadata_ = std::move(metadata);
  file.owned_ = std::move(owned);
  for (const Tensor& tensor : tensors) {
    const auto row = kernels::row_bytes(tensor.type, tensor.columns());
    GEIST_CHECK(row && static_cast<uint64_t>(*row * tensor.rows()) == tensor.data.size());
    file.file_bytes_ += tensor.data.size();
  }
  GEIST_CHECK(add_tensors(std::move(tensors), file.name_, &file.tensors_, &file.index_).ok());
  return file;
}

const Tensor* File::find(std::string_view tensor_name) const {
  const auto entry = index_.find(tensor_name);
  return entry == index_.end() ? nullptr : &tensors_[entry->second];
}

std::vector<std::string> File::sources() const {
  if (!sources_.empty()) return sources_;
  std::vector<std::string> paths;
  for (const auto& mapping : mappings_) paths.push_back(mapping->path());
  return paths;
}

const MappedFile* File::mapping_of(const Tensor& tensor) const {
  for (const auto& mapping : mappings_) {
    const auto bytes = mapping->bytes();
    const std::less<const std::byte*> before;  // a total order, also over different mappings
    if (!before(tensor.data.data(), bytes.data()) &&
        before(tensor.data.data(), bytes.data() + bytes.size()))
      return mapping.get();
  }
  return nullptr;
}

void File::release(const Tensor& tensor) const {
  if (const MappedFile* mapping = mapping_of(tensor))
    mapping->release(static_cast<size_t>(tensor.data.data() - mapping->bytes().data()),
                     tensor.data.size());
}

}  // namespace geist::gguf
