// A Hugging Face config.json, read by name (internal to this folder). Names come in lists, since
// every family spells the same number its own way: the first that is there and not null counts. A
// value of the wrong kind is remembered and reported by status(), so that a list of look-ups reads
// without a check after each.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace geist::model {

class HfConfig {
 public:
  using Names = std::initializer_list<const char*>;

  // `file` opens every error message.
  static Result<HfConfig> parse(std::string_view json, const std::string& file);

  std::optional<int64_t> integer(Names names) const;
  std::optional<double> number(Names names) const;
  std::optional<bool> boolean(Names names) const;
  std::optional<std::string> string(Names names) const;
  std::optional<std::vector<double>> numbers(Names names) const;
  std::optional<std::vector<std::string>> strings(Names names) const;
  // An integer, or the integers of an array; empty when absent.
  std::vector<int64_t> integers(Names names) const;
  std::optional<HfConfig> object(Names names) const;
  bool has(const char* name) const;
  bool empty() const;

  // The first value that was of the wrong kind, over this object and all that came out of it.
  Status status() const;
  const std::string& file() const;

 private:
  struct Impl;
  explicit HfConfig(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace geist::model
