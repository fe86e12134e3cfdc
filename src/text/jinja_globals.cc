// Global functions and tests.
#include <algorithm>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

using In = Interpreter;

constexpr int64_t kRangeItemsMax = 100'000;  // the limit of Jinja's own sandbox

// --- globals: self is not used ---

Value global_range(In& in, const Value&, const Arguments& arguments) {
  const Parameters p(in.heap, "range", arguments, {"start", "stop", "step"});
  if (!p.require(1)) return {};
  const int64_t start = p.has(1) ? p.integer(0, 0) : 0,
                stop = p.has(1) ? p.integer(1, 0) : p.integer(0, 0);
  const int64_t step = p.integer(2, 1);
  if (in.heap.failed()) return {};
  if (step == 0) return in.heap.fail("range() step must not be zero"), Value();
  const auto distance = static_cast<__int128>(step > 0 ? stop : start) - (step > 0 ? start : stop);
  const __int128 stride = step > 0 ? step : -static_cast<__int128>(step);
  const __int128 count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  if (count > kRangeItemsMax)
    return in.heap.fail("range() of more than %lld items", static_cast<long long>(kRangeItemsMax)),
           Value();
  const Value out = make_list(in.heap, {}, Kind::kRange);
  List& list = out.list();
  list.range_start = start;
  list.range_stop = stop;
  list.range_step = step;
  if (count > 0) list.items = in.heap.array<Value>(static_cast<size_t>(count));
  if (list.items == nullptr) return out;
  list.size = list.capacity = static_cast<size_t>(count);
  for (size_t i = 0; i < list.size; ++i)
    list.items[i] = Value::integer(start + static_cast<int64_t>(i) * step);
  return out;
}

Value make_dict(In& in, const Arguments& arguments, Kind kind) {
  const Value dict = Value::of(Kind::kDict, in.heap.make<Dict>());
  const Function* const update = find_method(dict, "update");
  (*update)(in, dict, arguments);
  return dict.as(kind);
}

Value global_dict(In& in, const Value&, const Arguments& arguments) {
  return make_dict(in, arguments, Kind::kDict);
}
Value global_namespace(In& in, const Value&, const Arguments& arguments) {
  return make_dict(in, arguments, Kind::kNamespace);
}

Value global_raise_exception(In& in, const Value&, const Arguments& arguments) {
  const Parameters p(in.heap, "raise_exception", arguments, {"message"});
  const Value message = to_string(in.heap, p.get(0));
  in.heap.fail("%.*s", static_cast<int>(std::min<size_t>(message.text().size(), 400)),
               message.text().data());
  return {};
}

Value global_strftime_now(In& in, const Value&, const Arguments& arguments) {
  const Parameters p(in.heap, "strftime_now", arguments, {"format"});
  if (!p.require(1)) return {};
  return Value::string(in.heap.copy(format_time(in.heap, p.text(0, ""), in.unix_time_s)));
}

// joiner() and cycler() are functions over a small list that is their state.
Value joiner_call(In&, const Value& self, const Arguments&) {
  List& state = self.list();  // separator, used
  const bool used = truthy(state.items[1]);
  state.items[1] = Value::boolean(true);
  return used ? state.items[0] : Value::string({});
}

Value global_joiner(In& in, const Value&, const Arguments& arguments) {
  const Parameters p(in.heap, "joiner", arguments, {"sep"});
  const Value state[2] = {p.get(0, Value::string(", ")), Value::boolean(false)};
  Callable* const callable = in.heap.make<Callable>();
  callable->function = joiner_call;
  callable->self = make_list(in.heap, state);
  return in.heap.failed() ? Value() : Value::of(callable);
}

Value cycler_current(In&, const Value& self, const Arguments&) {
  const List& state = self.list();  // position, then the items
  return state.items[1 + static_cast<size_t>(state.items[0].integer())];
}

Value cycler_next(In& in, const Value& self, const Arguments& arguments) {
  const Value out = cycler_current(in, self, arguments);
  List& state = self.list();
  state.items[0] =
      Value::integer((state.items[0].integer() + 1) % static_cast<int64_t>(state.size - 1));
  return out;
}

Value cycler_reset(In&, const Value& self, const Arguments&) {
  self.list().items[0] = Value::integer(0);
  return Value::none();
}

// A namespace of its methods: `c.next()`, `c.reset()`. `c.current` is a call here, c.current().
Value global_cycler(In& in, const Value&, const Arguments& arguments) {
  if (arguments.positional.empty()) return in.heap.fail("cycler() needs items"), Value();
  const Value state = make_list(in.heap, {});
  state.list().push(in.heap, Value::integer(0));
  for (const Value& item : arguments.positional) state.list().push(in.heap, item);
  Dict* const methods = in.heap.make<Dict>();
  for (const NamedFunction& method :
       {NamedFunction{"next", cycler_next}, {"reset", cycler_reset}, {"current", cycler_current}}) {
    Callable* const callable = in.heap.make<Callable>();
    callable->function = method.function;
    callable->self = state;
    methods->set(in.heap, Value::string(method.name), Value::of(callable));
  }
  return in.heap.failed() ? Value() : Value::of(Kind::kNamespace, methods);
}

constexpr NamedFunction kGlobals[] = {
    {"range", global_range},
    {"dict", global_dict},
    {"namespace", global_namespace},
    {"raise_exception", global_raise_exception},
    {"strftime_now", global_strftime_now},
    {"joiner", global_joiner},
    {"cycler", global_cycler},
};

// --- tests ---

template <bool (*kTest)(const Value&)>
Value simple_test(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "test", arguments, {});
  return Value::boolean(kTest(self));
}

template <Kind kKind>
bool is_kind(const Value& v) {
  return v.kind() == kKind;
}
bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_integer(const Value& v) { return v.kind() == Kind::kInt || v.kind() == Kind::kBigInt; }
bool is_number_value(const Value& v) { return v.is_numeric() || v.kind() == Kind::kBigInt; }
bool is_iterable(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_dict() || v.is_sequence() ||
         v.kind() == Kind::kLoop;
}
bool is_sequence_value(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_dict() || v.kind() == Kind::kList ||
         v.kind() == Kind::kTuple || v.kind() == Kind::kRange;
}
bool is_callable(const Value& v) { return v.kind() == Kind::kCallable || v.kind() == Kind::kLoop; }
bool is_true(const Value& v) { return v.kind() == Kind::kBool && v.boolean(); }
bool is_false(const Value& v) { return v.kind() == Kind::kBool && !v.boolean(); }
bool is_escaped(const Value& v) { return v.is_markup(); }
bool is_filter_name(const Value& v) { return v.is_string() && find_filter(v.text()) != nullptr; }
bool is_test_name(const Value& v) { return v.is_string() && find_test(v.text()) != nullptr; }

template <Operator kOperator>
Value comparison_test(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "comparison", arguments, {"other"});
  if (!p.require(1)) return {};
  return apply_operator(in.heap, kOperator, self, p.get(0));
}

Value test_same_as(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "sameas", arguments, {"other"});
  const Value other = p.get(0);
  if (self.kind() != other.kind()) return Value::boolean(false);
  const bool scalar = self.kind() <= Kind::kString;
  return Value::boolean(scalar ? equals(in.heap, self, other)
                               : self.identity() == other.identity());
}

Value remainder(In& in, const Value& self, const Value& divisor) {
  return apply_operator(in.heap, Operator::kModulo, self, divisor);
}

Value test_divisible_by(In& in, const Value& self, const Arguments& arguments) {
  const Parameters p(in.heap, "divisibleby", arguments, {"num"});
  if (!p.require(1)) return {};
  return Value::boolean(!truthy(remainder(in, self, p.get(0))));
}
template <int64_t kRemainder>
Value test_parity(In& in, const Value& self, const Arguments&) {
  return Value::boolean(
      equals(in.heap, remainder(in, self, Value::integer(2)), Value::integer(kRemainder)));
}

template <bool kUpper>
Value test_case(In& in, const Value& self, const Arguments& arguments) {
  const Value text = to_string(in.heap, self);
  return (*find_function(string_methods(), kUpper ? "isupper" : "islower"))(in, text, arguments);
}

constexpr NamedFunction kTests[] = {
    {"defined", simple_test<is_defined>},
    {"undefined", simple_test<is_kind<Kind::kUndefined>>},
    {"none", simple_test<is_kind<Kind::kNone>>},
    {"boolean", simple_test<is_kind<Kind::kBool>>},
    {"true", simple_test<is_true>},
    {"false", simple_test<is_false>},
    {"string", simple_test<is_kind<Kind::kString>>},
    {"integer", simple_test<is_integer>},
    {"float", simple_test<is_kind<Kind::kFloat>>},
    {"number", simple_test<is_number_value>},
    {"mapping", simple_test<is_kind<Kind::kDict>>},
    {"iterable", simple_test<is_iterable>},
    {"sequence", simple_test<is_sequence_value>},
    {"callable", simple_test<is_callable>},
    {"escaped", simple_test<is_escaped>},
    {"filter", simple_test<is_filter_name>},
    {"test", simple_test<is_test_name>},
    {"sameas", test_same_as},
    {"divisibleby", test_divisible_by},
    {"odd", test_parity<1>},
    {"even", test_parity<0>},
    {"upper", test_case<true>},
    {"lower", test_case<false>},
    {"in", comparison_test<Operator::kIn>},
    {"eq", comparison_test<Operator::kEqual>},
    {"equalto", comparison_test<Operator::kEqual>},
    {"==", comparison_test<Operator::kEqual>},
    {"ne", comparison_test<Operator::kNotEqual>},
    {"!=", comparison_test<Operator::kNotEqual>},
    {"lt", comparison_test<Operator::kLess>},
    {"lessthan", comparison_test<Operator::kLess>},
    {"<", comparison_test<Operator::kLess>},
    {"le", comparison_test<Operator::kLessEqual>},
    {"<=", comparison_test<Operator::kLessEqual>},
    {"gt", comparison_test<Operator::kGreater>},
    {"greaterthan", comparison_test<Operator::kGreater>},
    {">", comparison_test<Operator::kGreater>},
    {"ge", comparison_test<Operator::kGreaterEqual>},
    {">=", comparison_test<Operator::kGreaterEqual>},
};

}  // namespace

const Function* find_test(std::string_view name) { return find_function(kTests, name); }
const Function* find_global(std::string_view name) { return find_function(kGlobals, name); }

}  // namespace geist::text::jinja
