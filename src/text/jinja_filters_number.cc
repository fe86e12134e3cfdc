// Filters to and on numbers, and default.
#include <cmath>

#include "text/jinja_format.h"
#include "text/jinja_interpreter.h"

namespace geist::text::jinja {
namespace {

using In = Interpreter;

bool fails_undefined(In& in, const Value& self) {
  if (!self.is_undefined()) return false;
  in.heap.fail("'%.*s' is undefined", static_cast<int>(self.text().size()), self.text().data());
  return true;
}

bool truncate_real(double f, int64_t* out) {
  if (!(f >= -0x1p63 && f < 0x1p63)) return false;
  *out = static_cast<int64_t>(f);
  return true;
}

Value filter_int(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "int", arguments, {"default", "base"});
  const Value otherwise = p.get(0, Value::integer(0));
  int64_t out;
  double real;
  switch (self.kind()) {
    case Kind::kUndefined:
      return fails_undefined(in, self), Value();
    case Kind::kBool:
    case Kind::kInt:
      return Value::integer(self.integer());
    case Kind::kBigInt:
      return self;
    case Kind::kFloat:
      return truncate_real(self.real(), &out) ? Value::integer(out) : otherwise;
    case Kind::kString:
      if (!in.heap.spend_bytes(self.text().size())) return {};
      if (parse_integer(self.text(), p.integer(1, 10), &out)) return Value::integer(out);
      if (parse_float(self.text(), &real) && truncate_real(real, &out)) return Value::integer(out);
      return otherwise;
    default:
      return otherwise;
  }
}

Value filter_float(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "float", arguments, {"default"});
  if (fails_undefined(in, self)) return {};
  double out;
  if (self.is_numeric()) return Value::real(self.real());
  if ((self.is_string() || self.kind() == Kind::kBigInt) &&
      in.heap.spend_bytes(self.text().size()) && parse_float(self.text(), &out)) {
    return Value::real(out);
  }
  return p.get(0, Value::real(0));
}

Value filter_abs(In& in, const Value& self, const Arguments&) {
  if (self.kind() == Kind::kFloat) return Value::real(std::fabs(self.real()));
  if (self.is_integral())
    return self.integer() < 0 ? negate(in.heap, self) : Value::integer(self.integer());
  if (!fails_undefined(in, self)) in.heap.fail("bad operand type for abs(): '%s'", type_name(self));
  return {};
}

Value filter_round(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "round", arguments, {"precision", "method"});
  const int64_t digits = p.integer(0, 0);
  const std::string_view method = p.text(1, "common");
  if (fails_undefined(in, self)) return {};
  if (!self.is_numeric())
    return in.heap.fail("round() needs a number, not %s", type_name(self)), Value();
  if (method == "common") {
    if (self.is_integral() && digits >= 0) return Value::integer(self.integer());
    const double out = round_decimal(self.real(), digits);
    return self.is_integral() ? Value::integer(static_cast<int64_t>(out)) : Value::real(out);
  }
  if (method != "ceil" && method != "floor")
    return in.heap.fail("round(): method must be common, ceil or floor"), Value();
  if (digits < -300 || digits > 300)
    return in.heap.fail("round(): precision is out of range"), Value();
  double unit = 1;
  for (int64_t i = 0; i < std::abs(digits); ++i) unit *= 10;
  const double scaled = digits < 0 ? self.real() / unit : self.real() * unit;
  const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
  return Value::real(digits < 0 ? whole * unit : whole / unit);
}

Value filter_default(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "default", arguments, {"default_value", "boolean"});
  const bool replaced = self.is_undefined() || (p.boolean(1, false) && !truthy(self));
  return replaced ? p.get(0, Value::string({})) : self;
}

constexpr NamedFunction kFilters[] = {
    {"default", filter_default}, {"d", filter_default}, {"int", filter_int},
    {"float", filter_float},     {"abs", filter_abs},   {"round", filter_round},
};

}  // namespace

std::span<const NamedFunction> number_filters() { return kFilters; }

}  // namespace geist::text::jinja
