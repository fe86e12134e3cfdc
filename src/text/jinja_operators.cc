// Arithmetic, comparison and slicing with Python's semantics.
#include <algorithm>
#include <cmath>

#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

Value overflow(Heap& heap) {
  heap.fail("an integer grows beyond 64 bits");
  return {};
}

Value zero_division(Heap& heap) {
  heap.fail("division by zero");
  return {};
}

// x ** n by squaring: what pow() gives for whole exponents, without libm.
double real_power(double base, double exponent) {
  if (exponent != std::trunc(exponent) || std::fabs(exponent) > 4096)
    return exponent == 0.5 ? std::sqrt(base) : std::nan("");
  double out = 1;
  for (auto n = static_cast<int64_t>(std::fabs(exponent)); n > 0; n >>= 1) {
    if (n & 1) out *= base;
    base *= base;
  }
  return exponent < 0 ? 1 / out : out;
}

Value integer_power(Heap& heap, int64_t base, int64_t exponent) {
  if (exponent < 0)
    return base == 0
               ? zero_division(heap)
               : Value::real(real_power(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t out = 1;
  while (exponent > 0) {
    if ((exponent & 1) && __builtin_mul_overflow(out, base, &out)) return overflow(heap);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return overflow(heap);
  }
  return Value::integer(out);
}

double floor_modulo(double a, double b) {
  double out = std::fmod(a, b);
  if (out != 0 && (out < 0) != (b < 0)) out += b;
  return out == 0 ? std::copysign(0.0, b) : out;
}

Value integer_arithmetic(Heap& heap, Operator op, int64_t a, int64_t b) {
  int64_t out = 0;
  switch (op) {
    case Operator::kAdd:
      return __builtin_add_overflow(a, b, &out) ? overflow(heap) : Value::integer(out);
    case Operator::kSubtract:
      return __builtin_sub_overflow(a, b, &out) ? overflow(heap) : Value::integer(out);
    case Operator::kMultiply:
      return __builtin_mul_overflow(a, b, &out) ? overflow(heap) : Value::integer(out);
    case Operator::kPower:
      return integer_power(heap, a, b);
    default:
      break;
  }
  if (b == 0) return zero_division(heap);
  if (op == Operator::kDivide) return Value::real(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // the one quotient that overflows
    if (op == Operator::kModulo) return Value::integer(0);
    return __builtin_sub_overflow(int64_t{0}, a, &out) ? overflow(heap) : Value::integer(out);
  }
  const int64_t remainder = a % b;
  const bool below = remainder != 0 && (remainder < 0) != (b < 0);  // Python rounds down
  if (op == Operator::kModulo) return Value::integer(below ? remainder + b : remainder);
  return Value::integer(a / b - (below ? 1 : 0));
}

Value real_arithmetic(Heap& heap, Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value::real(a + b);
    case Operator::kSubtract:
      return Value::real(a - b);
    case Operator::kMultiply:
      return Value::real(a * b);
    case Operator::kPower:
      return Value::real(real_power(a, b));
    default:
      break;
  }
  if (b == 0) return zero_division(heap);
  if (op == Operator::kDivide) return Value::real(a / b);
  if (op == Operator::kModulo) return Value::real(floor_modulo(a, b));
  return Value::real(std::floor((a - floor_modulo(a, b)) / b + 0.25));
}

Value add_text(Heap& heap, const Value& a, const Value& b) {
  std::string_view left = a.text(), right = b.text();
  const bool markup = a.is_markup() || b.is_markup();
  if (markup && !a.is_markup()) left = escape_html(heap, left);
  if (markup && !b.is_markup()) right = escape_html(heap, right);
  return Value::string(heap.concat(left, right)).with_markup(markup);
}

Value repeat(Heap& heap, const Value& value, int64_t count) {
  const auto times = static_cast<uint64_t>(std::max<int64_t>(count, 0));
  if (value.is_string()) {
    const std::string_view text = value.text();
    const auto size = static_cast<unsigned __int128>(text.size()) * times;
    if (size > heap.limits().memory_bytes_max)
      return heap.fail("'*' makes a string that is too long"), Value();
    char* const out = static_cast<char*>(heap.allocate(static_cast<size_t>(size)));
    if (out == nullptr || text.empty()) return Value::string({});
    for (uint64_t i = 0; i < times; ++i) std::copy(text.begin(), text.end(), out + i * text.size());
    return Value::string({out, static_cast<size_t>(size)}).with_markup(value.is_markup());
  }
  const auto items = value.list().values();
  const auto size = static_cast<unsigned __int128>(items.size()) * times;
  if (size > heap.limits().memory_bytes_max / sizeof(Value))
    return heap.fail("'*' makes a list that is too long"), Value();
  List* const list = heap.make<List>();
  if (size > 0) list->items = heap.array<Value>(static_cast<size_t>(size));
  if (list->items == nullptr) return Value::of(value.kind(), list);
  for (uint64_t i = 0; i < times; ++i)
    std::copy(items.begin(), items.end(), list->items + i * items.size());
  list->size = list->capacity = static_cast<size_t>(size);
  return Value::of(value.kind(), list);
}

Value add_lists(Heap& heap, const Value& a, const Value& b) {
  const auto x = a.list().values(), y = b.list().values();
  List* const list = heap.make<List>();
  if (x.size() + y.size() > 0) list->items = heap.array<Value>(x.size() + y.size());
  if (list->items == nullptr) return Value::of(a.kind(), list);
  std::copy(y.begin(), y.end(), std::copy(x.begin(), x.end(), list->items));
  list->size = list->capacity = x.size() + y.size();
  return Value::of(a.kind(), list);
}

bool is_plain_list(const Value& v) { return v.kind() == Kind::kList || v.kind() == Kind::kTuple; }

bool compares(Heap& heap, Operator op, const Value& a, const Value& b) {
  const bool nan = (a.kind() == Kind::kFloat && std::isnan(a.real())) ||
                   (b.kind() == Kind::kFloat && std::isnan(b.real()));
  switch (op) {
    case Operator::kEqual:
      return equals(heap, a, b);
    case Operator::kNotEqual:
      return !equals(heap, a, b);
    case Operator::kIn:
      return contains(heap, b, a);
    case Operator::kNotIn:
      return !contains(heap, b, a);
    default:
      break;
  }
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined())
      return heap.fail("'%.*s' is undefined",
                       static_cast<int>(std::min<size_t>(v->text().size(), 64)), v->text().data()),
             false;
  }
  const int order = compare(heap, a, b);
  if (nan) return false;
  switch (op) {
    case Operator::kLess:
      return order < 0;
    case Operator::kLessEqual:
      return order <= 0;
    case Operator::kGreater:
      return order > 0;
    default:
      return order >= 0;
  }
}

const char* symbol_of(Operator op) {
  static constexpr const char* kSymbols[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSymbols[static_cast<size_t>(op)];
}

// Python's slice.indices(): a start and a count of steps within [0, size).
struct Indices {
  int64_t start, step;
  size_t count;
};

bool slice_indices(Heap& heap, const Value& start, const Value& stop, const Value& step,
                   size_t length, Indices* out) {
  for (const Value* v : {&start, &stop, &step}) {
    if (!v->is_none() && !v->is_integral())
      return heap.fail("slice indices must be integers or None, not %s", type_name(*v)), false;
  }
  const auto size = static_cast<int64_t>(length);
  // A step beyond the length acts like the length.
  const int64_t by = step.is_none() ? 1 : std::clamp<int64_t>(step.integer(), -size - 1, size + 1);
  if (by == 0) return heap.fail("slice step cannot be zero"), false;
  const int64_t low = by < 0 ? -1 : 0, high = by < 0 ? size - 1 : size;
  const auto place = [&](const Value& v, int64_t otherwise) {
    if (v.is_none()) return otherwise;
    const int64_t i = v.integer();
    return std::clamp(i < 0 ? (i < -size ? low : i + size) : i, low, high);
  };
  const int64_t from = place(start, by < 0 ? high : low), to = place(stop, by < 0 ? low : high);
  const int64_t distance = by < 0 ? from - to : to - from;
  const int64_t stride = by < 0 ? -by : by;
  *out = {from, by, distance <= 0 ? 0 : static_cast<size_t>((distance + stride - 1) / stride)};
  return true;
}

Value slice_text(Heap& heap, const Value& value, const Value& start, const Value& stop,
                 const Value& step) {
  const std::string_view text = value.text();
  Indices at;
  if (!slice_indices(heap, start, stop, step, character_count(heap, text), &at)) return {};
  if (at.count == 0) return Value::string({});
  if (at.step == 1) {
    const size_t from = byte_offset(heap, text, static_cast<size_t>(at.start));
    const size_t size = byte_offset(heap, text.substr(from), at.count);
    return Value::string(text.substr(from, size)).with_markup(value.is_markup());
  }
  const auto letters = characters(heap, value);
  std::string out;
  for (size_t i = 0; i < at.count && !letters.empty(); ++i) {
    if (!put(heap, out,
             letters[static_cast<size_t>(at.start + static_cast<int64_t>(i) * at.step)].text()))
      return {};
  }
  return Value::string(heap.copy(out)).with_markup(value.is_markup());
}

}  // namespace

Value apply_operator(Heap& heap, Operator op, const Value& a, const Value& b) {
  if (op >= Operator::kEqual) return Value::boolean(compares(heap, op, a, b));
  if (heap.failed()) return {};
  if (a.is_integral() && b.is_integral())
    return integer_arithmetic(heap, op, a.integer(), b.integer());
  if (a.is_numeric() && b.is_numeric()) return real_arithmetic(heap, op, a.real(), b.real());
  if (op == Operator::kAdd && a.is_string() && b.is_string()) return add_text(heap, a, b);
  if (op == Operator::kAdd && is_plain_list(a) && a.kind() == b.kind())
    return add_lists(heap, a, b);
  if (op == Operator::kModulo && a.is_string()) return format_percent(heap, a.text(), b);
  if (op == Operator::kMultiply) {
    if ((a.is_string() || is_plain_list(a)) && b.is_integral()) return repeat(heap, a, b.integer());
    if (a.is_integral() && (b.is_string() || is_plain_list(b))) return repeat(heap, b, a.integer());
  }
  for (const Value* v : {&a, &b}) {
    if (v->is_undefined())
      return heap.fail("'%.*s' is undefined",
                       static_cast<int>(std::min<size_t>(v->text().size(), 64)), v->text().data()),
             Value();
  }
  heap.fail("unsupported operand types for %s: '%s' and '%s'", symbol_of(op), type_name(a),
            type_name(b));
  return {};
}

Value negate(Heap& heap, const Value& value) {
  if (value.kind() == Kind::kFloat) return Value::real(-value.real());
  return apply_operator(heap, Operator::kSubtract, Value::integer(0), value);
}

Value slice(Heap& heap, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  if (value.is_string()) return slice_text(heap, value, start, stop, step);
  const Kind kind = value.kind();
  if (kind != Kind::kList && kind != Kind::kTuple && kind != Kind::kRange)
    return Value::undefined("slice");
  const auto items = value.list().values();
  Indices at;
  if (!slice_indices(heap, start, stop, step, items.size(), &at)) return {};
  const Value out = make_list(heap, {}, kind == Kind::kRange ? Kind::kList : kind);
  if (at.count == 0) return out;
  List& list = out.list();
  list.items = heap.array<Value>(at.count);
  if (list.items == nullptr) return out;
  for (size_t i = 0; i < at.count; ++i)
    list.items[i] = items[static_cast<size_t>(at.start + static_cast<int64_t>(i) * at.step)];
  list.size = list.capacity = at.count;
  return out;
}

}  // namespace geist::text::jinja
