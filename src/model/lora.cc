#include "model/lora.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/model.h"

namespace geist::model {
namespace {

constexpr std::string_view kA = ".lora_a", kB = ".lora_b";
constexpr std::string_view kEmbedding = "token_embd.weight";

Error fault(const gguf::File& file, const std::string& tensor, const std::string& what) {
  return errorf("%s: tensor '%.200s' %s", file.name().c_str(), tensor.c_str(), what.c_str());
}

std::string shape_text(const kernels::Matrix& m) {
  return "[" + std::to_string(m.cols) + ", " + std::to_string(m.rows) + "]";
}

kernels::Matrix view(const gguf::Tensor& tensor) {
  return {.type = tensor.type,
          .rows = tensor.rows(),
          .cols = tensor.columns(),
          .data = tensor.data.data(),
          .panels = nullptr};
}

struct Header {
  std::string architecture, name;
  double alpha;
};

Result<Header> read_header(const gguf::File& file) {
  const gguf::Metadata& metadata = file.metadata();
  const auto in_file = [&](const Error& error) {
    return Error{file.name() + ": " + error.message};
  };
  const auto kind = gguf::get_string(metadata, "general.type");
  if (!kind.ok()) return in_file(kind.error());
  const auto type = gguf::get_string(metadata, "adapter.type");
  if (!type.ok()) return in_file(type.error());
  const auto architecture = gguf::get_string(metadata, "general.architecture");
  if (!architecture.ok()) return in_file(architecture.error());
  const auto name = gguf::get_string(metadata, "general.name");
  if (!name.ok()) return in_file(name.error());
  const auto alpha = gguf::get_float(metadata, "adapter.lora.alpha");
  if (!alpha.ok()) return in_file(alpha.error());
  if (kind->value_or("") != "adapter")
    return errorf("%s: not an adapter (general.type is '%.40s'); give it as the model instead",
                  file.name().c_str(), kind->value_or("model").c_str());
  if (type->value_or("") != "lora")
    return errorf("%s: adapters of type '%.40s' are not supported, only 'lora'",
                  file.name().c_str(), type->value_or("").c_str());
  const double value = alpha->value_or(0);
  if (!std::isfinite(value))
    return errorf("%s: adapter.lora.alpha is not a finite number; the file is damaged",
                  file.name().c_str());
  return Header{architecture->value_or(""), name->value_or(""), value};
}

void update(Sha256& hash, std::string_view text) {
  const uint64_t size = text.size();
  hash.update(std::as_bytes(std::span(&size, 1)));
  hash.update(std::as_bytes(std::span(text)));
}

Sha256Digest digest_of(const gguf::File& file, double alpha) {
  std::vector<const gguf::Tensor*> tensors;
  for (const gguf::Tensor& tensor : file.tensors())
    if (!tensor.is_of_trainer()) tensors.push_back(&tensor);
  std::sort(tensors.begin(), tensors.end(),
            [](const auto* a, const auto* b) { return a->name < b->name; });
  Sha256 hash;
  hash.update(std::as_bytes(std::span(&alpha, 1)));
  for (const gguf::Tensor* tensor : tensors) {
    update(hash, tensor->name);
    update(hash, kernels::tensor_type_info(tensor->type).name);
    hash.update(std::as_bytes(std::span(tensor->dims)));
    hash.update(tensor->data);
  }
  return hash.finish();
}

// Both tensors of a pair: of float types, their ranks equal.
Result<LoraPair> read_pair(const gguf::File& file, const gguf::Tensor& a, const gguf::Tensor& b,
                           bool embedding) {
  for (const gguf::Tensor* tensor : {&a, &b}) {
    if (kernels::is_quantized(tensor->type) || tensor->type == kernels::TensorType::kI32)
      return fault(file, tensor->name,
                   "is " + std::string(kernels::tensor_type_info(tensor->type).name) +
                       "; adapters are F32, F16 or BF16");
    if (tensor->dims.size() > 2 && tensor->elements() != tensor->dims[0] * tensor->dims[1])
      return fault(file, tensor->name,
                   "has more than two dimensions (adapters of experts are not "
                   "supported)");
  }
  LoraPair pair{view(a), view(b)};
  const int64_t rank = embedding ? pair.a.cols : pair.a.rows;
  if (rank != pair.rank())
    return fault(file, a.name,
                 "has shape " + shape_text(pair.a) + ", but '" + b.name + "' has " +
                     shape_text(pair.b) + ": their ranks differ; the file is damaged");
  return pair;
}

}  // namespace

Status LoraAdapter::add_pair(const gguf::Tensor& a, const std::string& name, double alpha,
                             const Model& base) {
  const gguf::Tensor* b = file_.find(name + std::string(kB));
  if (b == nullptr)
    return fault(file_, a.name, "has no '" + name + std::string(kB) + "' beside it");
  const bool embedding = name == kEmbedding;
  const Model::TensorUse use = base.find_tensor(name);
  const std::string& model = base.file().name();
  if (use.is_expert)
    return fault(file_, a.name, "adapts experts, which is not supported; train one without them");
  const kernels::Matrix* target = embedding ? use.table : use.product;
  if (target == nullptr)
    return fault(file_, a.name,
                 "adapts a matrix that " + model + " does not have; it belongs to another model");
  GEIST_ASSIGN(LoraPair pair, read_pair(file_, a, *b, embedding));
  const bool fits = embedding ? pair.a.rows == target->rows && pair.b.rows == target->cols
                              : pair.a.cols == target->cols && pair.b.rows == target->rows;
  if (!fits)
    return fault(file_, a.name,
                 "has shape " + shape_text(pair.a) + " and '" + b->name + "' has " +
                     shape_text(pair.b) + ", which do not fit " + shape_text(*target) + " of " +
                     model + "; it belongs to another model");
  pair.scale = alpha == 0 ? 1.0 : alpha / static_cast<double>(pair.rank());
  if (!pairs_.emplace(target, pair).second)
    return fault(file_, a.name, "adapts a matrix that another tensor adapts too");
  return {};
}

Result<std::shared_ptr<const LoraAdapter>> LoraAdapter::load(gguf::File file, const Model& base) {
  GEIST_ASSIGN(const Header header, read_header(file));
  if (header.architecture != base.config().architecture)
    return errorf("%s: an adapter for '%.60s', but %s is '%s'; it belongs to another model",
                  file.name().c_str(), header.architecture.c_str(), base.file().name().c_str(),
                  base.config().architecture.c_str());
  auto adapter = std::make_shared<LoraAdapter>();
  adapter->file_ = std::move(file);
  for (const gguf::Tensor& tensor : adapter->file_.tensors()) {
    const std::string& name = tensor.name;
    if (tensor.is_of_trainer()) continue;
    if (name.ends_with(kA)) {
      GEIST_TRY(
          adapter->add_pair(tensor, name.substr(0, name.size() - kA.size()), header.alpha, base));
    } else if (!name.ends_with(kB)) {
      return fault(adapter->file_, name, "is no part of a LoRA adapter (NAME.lora_a, NAME.lora_b)");
    } else if (adapter->file_.find(name.substr(0, name.size() - kB.size()) + std::string(kA)) ==
               nullptr) {
      return fault(adapter->file_, name, "has no lora_a beside it");
    }
  }
  if (adapter->pairs_.empty())
    return errorf("%s: the adapter is empty", adapter->file_.name().c_str());
  adapter->digest_ = digest_of(adapter->file_, header.alpha);
  return std::shared_ptr<const LoraAdapter>(std::move(adapter));
}

const LoraPair* LoraAdapter::find(const kernels::Matrix* base) const {
  const auto found = pairs_.find(base);
  return found == pairs_.end() ? nullptr : &found->second;
}

AdapterSet::AdapterSet(std::vector<Member> members) : members_(std::move(members)) {
  Sha256 hash;
  for (const Member& member : members_) {
    hash.update(std::as_bytes(std::span(member.adapter->digest())));
    hash.update(std::as_bytes(std::span(&member.scale, 1)));
  }
  hash_ = hash.finish();
}

bool is_adapter_file(const gguf::File& file) {
  const auto type = gguf::get_string(file.metadata(), "general.type");
  return type.ok() && type->value_or("") == "adapter";
}

Result<LoraInfo> read_lora_info(const gguf::File& file) {
  GEIST_ASSIGN(const Header header, read_header(file));
  LoraInfo info{header.architecture, header.name, header.alpha};
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (tensor.is_of_trainer()) continue;
    info.parameters += tensor.elements();
    if (!tensor.name.ends_with(kB)) continue;
    const int64_t rank = tensor.columns();
    info.rank_min = info.pairs == 0 ? rank : std::min(info.rank_min, rank);
    info.rank_max = std::max(info.rank_max, rank);
    ++info.pairs;
  }
  return info;
}

gguf::Metadata lora_metadata(std::string_view architecture, float alpha) {
  gguf::Metadata metadata;
  metadata["general.type"] = gguf::Value::string("adapter");
  metadata["general.architecture"] = gguf::Value::string(std::string(architecture));
  metadata["adapter.type"] = gguf::Value::string("lora");
  metadata["adapter.lora.alpha"] = gguf::Value::f32(alpha);
  return metadata;
}

Status write_lora(const std::string& path, std::string_view architecture, float alpha,
                  std::span<const LoraMatrices> matrices) {
  std::vector<gguf::TensorToWrite> shapes;
  for (const LoraMatrices& m : matrices) {
    GEIST_CHECK(static_cast<int64_t>(m.a.size()) == m.rank * m.inputs &&
                static_cast<int64_t>(m.b.size()) == m.outputs * m.rank);
    shapes.push_back({m.tensor + std::string(kA), kernels::TensorType::kF32, {m.inputs, m.rank}});
    shapes.push_back({m.tensor + std::string(kB), kernels::TensorType::kF32, {m.rank, m.outputs}});
  }
  GEIST_ASSIGN(gguf::Writer writer,
               gguf::Writer::create(path, lora_metadata(architecture, alpha), std::move(shapes)));
  for (const LoraMatrices& m : matrices) {
    GEIST_TRY(writer.write_tensor(std::as_bytes(std::span(m.a))));
    GEIST_TRY(writer.write_tensor(std::as_bytes(std::span(m.b))));
  }
  return writer.commit();
}

}  // namespace geist::model
