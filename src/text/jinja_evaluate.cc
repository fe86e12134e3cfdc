// Expressions: names, attributes, calls, and the operators' order of evaluation.
#include <algorithm>

#include "text/jinja_interpreter.h"
#include "text/jinja_text.h"

namespace geist::text::jinja {
namespace {

int shown(std::string_view text) { return static_cast<int>(std::min<size_t>(text.size(), 64)); }

Value loop_field(const Loop& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index0),
             size = static_cast<int64_t>(loop.items.size());
  if (name == "index") return Value::integer(index + 1);
  if (name == "index0") return Value::integer(index);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == size);
  if (name == "length") return Value::integer(size);
  if (name == "revindex") return Value::integer(size - index);
  if (name == "revindex0") return Value::integer(size - index - 1);
  if (name == "depth") return Value::integer(loop.depth0 + 1);
  if (name == "depth0") return Value::integer(loop.depth0);
  if (name == "previtem" && index > 0) return loop.items[loop.index0 - 1];
  if (name == "nextitem" && index + 1 < size) return loop.items[loop.index0 + 1];
  return Value::undefined(name);
}

// The value under a key by [] alone; false when the type or the key has none.
bool subscript(Heap& heap, const Value& value, const Value& key, Value* out) {
  if (value.is_dict() || value.kind() == Kind::kNamespace) {
    // An unhashable key is an absent key here, as an error in Python is for Jinja.
    if (!key.is_string() && !key.is_numeric() && !key.is_none() && key.kind() != Kind::kTuple)
      return false;
    const Value* const found = value.dict().find(heap, key);
    if (found != nullptr) *out = *found;
    return found != nullptr;
  }
  if (!key.is_integral()) return false;
  int64_t i = key.integer();
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange: {
      const auto items = value.list().values();
      if (i < 0) i += static_cast<int64_t>(items.size());
      if (i < 0 || i >= static_cast<int64_t>(items.size())) return false;
      *out = items[static_cast<size_t>(i)];
      return true;
    }
    case Kind::kString: {
      const std::string_view text = value.text();
      if (i < 0) i += static_cast<int64_t>(character_count(heap, text));
      if (i < 0) return false;
      const size_t at = byte_offset(heap, text, static_cast<size_t>(i));
      if (at >= text.size()) return false;
      *out = Value::string(text.substr(at, byte_offset(heap, text.substr(at), 1)));
      return true;
    }
    default:
      return false;
  }
}

}  // namespace

// The values of a call's arguments, on the C++ stack while the call runs.
struct Interpreter::CallFrame {
  std::vector<Value> positional;
  std::vector<NamedValue> named;
  Arguments view() const { return {positional, named}; }
};

Value Interpreter::attribute(const Value& value, std::string_view name) {
  if (value.is_undefined()) {
    heap.fail("'%.*s' is undefined", shown(value.text()), value.text().data());
    return {};
  }
  if (value.kind() == Kind::kLoop) {
    const Value field = loop_field(value.loop(), name);
    if (!field.is_undefined()) return field;
  }
  if (value.kind() == Kind::kTuple && value.list().is_group) {
    if (name == "grouper") return value.list().items[0];
    if (name == "list") return value.list().items[1];
  }
  if (const Function* method = find_method(value, name)) {
    Callable* const bound = heap.make<Callable>();
    heap.spend(4);
    bound->function = *method;
    bound->self = value;
    return Value::of(bound);
  }
  Value out;
  if (subscript(heap, value, Value::string(name), &out)) return out;
  return Value::undefined(name);
}

Value Interpreter::item(const Value& value, const Value& key) {
  if (value.is_undefined()) {
    heap.fail("'%.*s' is undefined", shown(value.text()), value.text().data());
    return {};
  }
  Value out;
  if (subscript(heap, value, key, &out)) return out;
  if (key.is_string()) return attribute(value, key.text());
  return Value::undefined("element");
}

Value Interpreter::attribute_path(const Value& value, const Value& path, const Value& otherwise) {
  if (path.is_none()) return value;
  const auto step = [&](const Value& object, const Value& key) {
    const Value found = item(object, key);
    return found.is_undefined() && !otherwise.is_none() ? otherwise : found;
  };
  if (!path.is_string()) return step(value, path);
  Value out = value;
  std::string_view rest = path.text();
  for (bool more = true; more && !heap.failed();) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view part = rest.substr(0, dot);
    const bool number = !part.empty() && part.size() < 10 &&
                        part.find_first_not_of("0123456789") == std::string_view::npos;
    out = step(out, number ? Value::integer(std::stoll(std::string(part))) : Value::string(part));
    more = dot < rest.size();
    if (more) rest.remove_prefix(dot + 1);
  }
  return out;
}

Value Interpreter::evaluate(const Expr& e, Scope& scope) {
  // Leaves first: they cannot nest.
  if (e.kind == ExprKind::kLiteral) return e.literal;
  if (!heap.spend(1)) return {};
  if (e.kind == ExprKind::kName) return lookup(scope, e.symbol);
  const Nesting nesting(heap);
  if (!nesting) return {};
  heap.set_line(e.line);
  switch (e.kind) {
    case ExprKind::kLiteral:
    case ExprKind::kName:
    case ExprKind::kNamespaceTarget:
    case ExprKind::kSlice:
      return {};
    case ExprKind::kTuple:
      return evaluate_items(e, scope, Kind::kTuple);
    case ExprKind::kList:
      return evaluate_items(e, scope, Kind::kList);
    case ExprKind::kDict:
      return evaluate_dict(e, scope);
    case ExprKind::kAttribute:
      return attribute(evaluate(*e.operands[0], scope), e.text);
    case ExprKind::kItem:
      return evaluate_item(e, scope);
    case ExprKind::kCall:
      return evaluate_call(e, scope);
    case ExprKind::kFilter:
      return evaluate_filter(e, nullptr, scope);
    case ExprKind::kTest:
      return evaluate_test(e, scope);
    case ExprKind::kNot:
      return Value::boolean(!truthy(evaluate(*e.operands[0], scope)));
    case ExprKind::kNegate:
      return negate(heap, evaluate(*e.operands[0], scope));
    case ExprKind::kPlus:
      return apply_operator(heap, Operator::kAdd, Value::integer(0),
                            evaluate(*e.operands[0], scope));
    case ExprKind::kArithmetic:
      return evaluate_arithmetic(e, scope);
    case ExprKind::kConcatenate:
      return evaluate_concatenation(e, scope);
    case ExprKind::kCompare:
      return evaluate_comparison(e, scope);
    case ExprKind::kConditional:
      return evaluate_conditional(e, scope);
    case ExprKind::kAnd:
    case ExprKind::kOr:
      break;
  }
  Value value;
  for (const Expr* operand : e.operands) {
    value = evaluate(*operand, scope);
    if (truthy(value) == (e.kind == ExprKind::kOr)) break;
  }
  return value;
}

Value Interpreter::evaluate_items(const Expr& e, Scope& scope, Kind kind) {
  List* const list = heap.make<List>();
  if (!e.operands.empty()) list->items = heap.array<Value>(e.operands.size());
  if (list->items == nullptr) return Value::of(kind, list);
  list->capacity = e.operands.size();
  for (const Expr* operand : e.operands) list->items[list->size++] = evaluate(*operand, scope);
  return Value::of(kind, list);
}

Value Interpreter::evaluate_dict(const Expr& e, Scope& scope) {
  Dict* const dict = heap.make<Dict>();
  for (size_t i = 0; i + 1 < e.operands.size() && !heap.failed(); i += 2) {
    const Value key = evaluate(*e.operands[i], scope);
    dict->set(heap, key, evaluate(*e.operands[i + 1], scope));
  }
  return Value::of(Kind::kDict, dict);
}

Value Interpreter::evaluate_item(const Expr& e, Scope& scope) {
  const Value object = evaluate(*e.operands[0], scope);
  const Expr& key = *e.operands[1];
  if (key.kind != ExprKind::kSlice) return item(object, evaluate(key, scope));
  if (object.is_undefined()) return item(object, {});
  const auto part = [&](size_t i) {
    return key.operands[i] == nullptr ? Value::none() : evaluate(*key.operands[i], scope);
  };
  const Value start = part(0), stop = part(1), step = part(2);
  return slice(heap, object, start, stop, step);
}

void Interpreter::evaluate_arguments(const CallArguments& arguments, Scope& scope,
                                     CallFrame& frame) {
  frame.positional.reserve(arguments.positional.size());
  for (const Expr* argument : arguments.positional)
    frame.positional.push_back(evaluate(*argument, scope));
  for (const auto& [name, value] : arguments.named)
    frame.named.push_back({name, evaluate(*value, scope)});
  if (arguments.star != nullptr) {
    const auto items = iterate(heap, evaluate(*arguments.star, scope));
    if (heap.spend(items.size()))
      frame.positional.insert(frame.positional.end(), items.begin(), items.end());
  }
  if (arguments.star_star != nullptr) {
    const Value mapping = evaluate(*arguments.star_star, scope);
    if (!mapping.is_dict())
      return heap.fail("argument after ** must be a mapping, not %s", type_name(mapping));
    for (const auto& [key, value] : mapping.dict().items()) {
      if (!key.is_string()) return heap.fail("keywords must be strings");
      if (!heap.spend(1)) return;
      frame.named.push_back({key.text(), value});
    }
  }
}

Value Interpreter::evaluate_call(const Expr& e, Scope& scope, const NamedValue* extra) {
  const Expr& callee = *e.operands[0];
  CallFrame frame;
  // A method is called without making a bound method first.
  if (callee.kind == ExprKind::kAttribute) {
    const Value object = evaluate(*callee.operands[0], scope);
    if (const Function* method = find_method(object, callee.text)) {
      evaluate_arguments(e.arguments, scope, frame);
      heap.set_line(e.line);
      return heap.failed() ? Value() : (*method)(*this, object, frame.view());
    }
    const Value function = attribute(object, callee.text);
    evaluate_arguments(e.arguments, scope, frame);
    if (extra != nullptr) frame.named.push_back(*extra);
    return heap.failed() ? Value() : call(function, frame.view());
  }
  const Value function = evaluate(callee, scope);
  evaluate_arguments(e.arguments, scope, frame);
  if (extra != nullptr) frame.named.push_back(*extra);
  heap.set_line(e.line);
  return heap.failed() ? Value() : call(function, frame.view());
}

Value Interpreter::call_filter(std::string_view name, const Value& input,
                               const Arguments& arguments) {
  const Function* const filter = find_filter(name);
  if (filter == nullptr)
    return heap.fail("there is no filter '%.*s'", shown(name), name.data()), Value();
  return heap.spend(1) ? (*filter)(*this, input, arguments) : Value();
}

bool Interpreter::call_test(std::string_view name, const Value& input, const Arguments& arguments) {
  const Function* const test = find_test(name);
  if (test == nullptr) return heap.fail("there is no test '%.*s'", shown(name), name.data()), false;
  return heap.spend(1) && (*test)(*this, input, arguments).boolean();
}

Value Interpreter::evaluate_filter(const Expr& e, const Value* input, Scope& scope) {
  const Nesting nesting(heap);
  if (!nesting) return {};
  // A filter block's chain ends where the block's text comes in.
  const Value value = e.operands[0] == nullptr ? (input != nullptr ? *input : Value())
                      : e.operands[0]->kind == ExprKind::kFilter
                          ? evaluate_filter(*e.operands[0], input, scope)
                          : evaluate(*e.operands[0], scope);
  CallFrame frame;
  evaluate_arguments(e.arguments, scope, frame);
  heap.set_line(e.line);
  return heap.failed() ? Value() : call_filter(e.text, value, frame.view());
}

Value Interpreter::evaluate_test(const Expr& e, Scope& scope) {
  const Value value = evaluate(*e.operands[0], scope);
  CallFrame frame;
  evaluate_arguments(e.arguments, scope, frame);
  return Value::boolean(!heap.failed() && call_test(e.text, value, frame.view()));
}

Value Interpreter::evaluate_arithmetic(const Expr& e, Scope& scope) {
  Value value = evaluate(*e.operands[0], scope);
  for (size_t i = 0; i < e.operators.size() && !heap.failed(); ++i) {
    value = apply_operator(heap, e.operators[i], value, evaluate(*e.operands[i + 1], scope));
  }
  return value;
}

Value Interpreter::evaluate_concatenation(const Expr& e, Scope& scope) {
  std::string_view text = to_string(heap, evaluate(*e.operands[0], scope)).text();
  for (size_t i = 1; i < e.operands.size() && !heap.failed(); ++i) {
    text = heap.concat(text, to_string(heap, evaluate(*e.operands[i], scope)).text());
  }
  return Value::string(text);
}

Value Interpreter::evaluate_comparison(const Expr& e, Scope& scope) {
  Value left = evaluate(*e.operands[0], scope);
  for (size_t i = 0; i < e.operators.size() && !heap.failed(); ++i) {
    const Value right = evaluate(*e.operands[i + 1], scope);
    if (!truthy(apply_operator(heap, e.operators[i], left, right))) return Value::boolean(false);
    left = right;
  }
  return Value::boolean(true);
}

Value Interpreter::evaluate_conditional(const Expr& e, Scope& scope) {
  if (truthy(evaluate(*e.operands[0], scope))) return evaluate(*e.operands[1], scope);
  if (e.operands[2] != nullptr) return evaluate(*e.operands[2], scope);
  return Value::undefined("the inline if-expression without else");
}

}  // namespace geist::text::jinja
