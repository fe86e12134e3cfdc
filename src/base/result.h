// The world's faults as values. An Error's message says what failed, where, and what to do, in one
// line, ready to print: "model.gguf: tensor 'output.weight' ends at byte 900 of 512; the file is
// cut short, download it again". Exceptions never cross a folder.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace geist {

struct Error {
  std::string message;
};

// A value of type T or an Error. Ask ok() before value(); value() of an error is our own fault and
// fails a check.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    GEIST_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    GEIST_CHECK(ok());
    return std::get<0>(state_);
  }
  T value() && {
    GEIST_CHECK(ok());
    return std::move(std::get<0>(state_));
  }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }

  const Error& error() const {
    GEIST_CHECK(!ok());
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

// Success or an Error, for functions that return nothing else.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : failed_(true), error_(std::move(error)) {}  // NOLINT: implicit on purpose

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    GEIST_CHECK(failed_);
    return error_;
  }

 private:
  bool failed_ = false;
  Error error_;
};

// printf into an Error.
Error errorf(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace geist

// GEIST_TRY(expression): returns the error of a Status or Result from the enclosing function.
#define GEIST_TRY(expression)                                    \
  do {                                                           \
    auto&& geist_try_status = (expression);                      \
    if (!geist_try_status.ok()) return geist_try_status.error(); \
  } while (false)

#define GEIST_INTERNAL_CAT2(a, b) a##b
#define GEIST_INTERNAL_CAT(a, b) GEIST_INTERNAL_CAT2(a, b)

// GEIST_ASSIGN(declaration, expression): unwraps a Result or returns its error.
#define GEIST_ASSIGN(declaration, expression)                      \
  auto GEIST_INTERNAL_CAT(geist_result_, __LINE__) = (expression); \
  if (!GEIST_INTERNAL_CAT(geist_result_, __LINE__).ok())           \
    return GEIST_INTERNAL_CAT(geist_result_, __LINE__).error();    \
  declaration = std::move(GEIST_INTERNAL_CAT(geist_result_, __LINE__)).value()
