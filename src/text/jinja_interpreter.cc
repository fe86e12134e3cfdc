// Statements, scopes and macros. Expressions are in jinja_evaluate.cc.
#include "text/jinja_interpreter.h"

#include <algorithm>

#include "text/jinja_text.h"

namespace geist::text::jinja {

std::string Interpreter::render(const Value& context) {
  const size_t count = program_.symbols.size();
  root_ = heap.array<Value>(count);
  for (Symbol s = 0; s < count; ++s) {
    const std::string_view name = program_.symbols[s];
    const Value* const given = context.dict().find(heap, name);
    if (given != nullptr) {
      root_[s] = *given;
    } else if (const Function* global = find_global(name)) {
      Callable* const callable = heap.make<Callable>();
      callable->function = *global;
      root_[s] = Value::of(callable);
    } else {
      root_[s] = Value::undefined(name);
    }
  }
  execute(program_.body, root_scope_);
  return std::move(output_);
}

// --- variables ---

Scope* Interpreter::new_scope(Scope& parent) {
  Scope* const scope = heap.make<Scope>();
  scope->parent = &parent;
  return scope;
}

Value Interpreter::lookup(const Scope& scope, Symbol symbol) {
  for (const Scope* s = &scope; s->parent != nullptr; s = s->parent) {
    heap.spend(s->size / 16);
    for (uint32_t i = 0; i < s->size; ++i) {
      if (s->slots[i].symbol == symbol) return s->slots[i].value;
    }
  }
  return root_[symbol];
}

void Interpreter::set(Scope& scope, Symbol symbol, const Value& value) {
  if (scope.parent == nullptr) {
    root_[symbol] = value;
    return;
  }
  heap.spend(scope.size / 16);
  for (uint32_t i = 0; i < scope.size; ++i) {
    if (scope.slots[i].symbol == symbol) {
      scope.slots[i].value = value;
      return;
    }
  }
  if (scope.size == scope.capacity) {
    const uint32_t capacity = scope.capacity == 0 ? 4 : scope.capacity * 2;
    Scope::Slot* const grown = heap.array<Scope::Slot>(capacity);
    if (grown == nullptr) return;
    std::copy_n(scope.slots, scope.size, grown);
    scope.slots = grown;
    scope.capacity = capacity;
  }
  scope.slots[scope.size++] = {symbol, value};
}

void Interpreter::assign(const Expr& target, const Value& value, Scope& scope) {
  switch (target.kind) {
    case ExprKind::kName:
      set(scope, target.symbol, value);
      return;
    case ExprKind::kTuple:
      assign_tuple(target, value, scope);
      return;
    default:
      break;
  }
  const Value object = lookup(scope, target.symbol);
  if (object.kind() != Kind::kNamespace)
    return heap.fail("cannot assign attribute on non-namespace object");
  object.dict().set(heap, Value::string(target.text), value);
}

void Interpreter::assign_tuple(const Expr& target, const Value& value, Scope& scope) {
  const Nesting nesting(heap);
  if (!nesting) return;
  const auto items = iterate(heap, value);
  if (items.size() != target.operands.size()) {
    return heap.fail("cannot unpack %zu values into %zu names", items.size(),
                     target.operands.size());
  }
  for (size_t i = 0; i < items.size() && heap.spend(1); ++i)
    assign(*target.operands[i], items[i], scope);
}

// --- output ---

void Interpreter::print(const Value& value) { append_str(heap, output_, value); }

Value Interpreter::take_output(size_t start) {
  const Value text = Value::string(heap.copy(std::string_view(output_).substr(start)));
  output_.resize(start);
  return text;
}

Value Interpreter::capture(const Body& body, Scope& scope) {
  const size_t start = output_.size();
  ++captures_;
  execute(body, scope);
  --captures_;
  return take_output(start);
}

// --- statements ---

Interpreter::Flow Interpreter::execute(const Body& body, Scope& scope) {
  const Nesting nesting(heap);
  if (!nesting) return Flow::kNormal;
  for (const Statement* statement : body) {
    if (!heap.spend(1)) break;
    if (statement->kind == StatementKind::kText) {
      put(heap, output_, statement->text);
      continue;
    }
    heap.set_line(statement->line);
    const Flow flow = execute(*statement, scope);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute(const Statement& s, Scope& scope) {
  switch (s.kind) {
    case StatementKind::kText:
      put(heap, output_, s.text);
      break;
    case StatementKind::kPrint:
      print(evaluate(*s.value, scope));
      break;
    case StatementKind::kIf:
      return execute_if(s, scope);
    case StatementKind::kFor:
      execute_for(s, scope);
      break;
    case StatementKind::kSet:
      assign(*s.target, evaluate(*s.value, scope), scope);
      break;
    case StatementKind::kSetBlock: {
      Value text = capture(s.body, *new_scope(scope));
      if (s.value != nullptr) text = evaluate_filter(*s.value, &text, scope);
      assign(*s.target, text, scope);
      break;
    }
    case StatementKind::kMacro:
      set(scope, s.symbol, make_macro(s, scope));
      break;
    case StatementKind::kCallBlock:
      execute_call_block(s, scope);
      break;
    case StatementKind::kFilterBlock: {
      const Value text = capture(s.body, *new_scope(scope));
      print(evaluate_filter(*s.value, &text, scope));
      break;
    }
    case StatementKind::kWith:
      execute_with(s, scope);
      break;
    case StatementKind::kScope:
      return execute(s.body, *new_scope(scope));
    case StatementKind::kGeneration:
      return execute_generation(s, scope);
    case StatementKind::kDo:
      evaluate(*s.value, scope);
      break;
    case StatementKind::kBreak:
      return Flow::kBreak;
    case StatementKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::execute_if(const Statement& s, Scope& scope) {
  for (const Branch& branch : s.branches) {
    if (truthy(evaluate(*branch.condition, scope))) return execute(branch.body, scope);
    if (!heap.spend(1)) return Flow::kNormal;
  }
  return execute(s.otherwise, scope);
}

// Inside a macro or a set block nothing is marked: where that text comes to stand is not known yet.
Interpreter::Flow Interpreter::execute_generation(const Statement& s, Scope& scope) {
  const size_t begin = output_.size();
  const Flow flow = execute(s.body, *new_scope(scope));
  if (captures_ == 0 && output_.size() > begin) generated_.push_back({begin, output_.size()});
  return flow;
}

void Interpreter::execute_with(const Statement& s, Scope& scope) {
  Scope& inner = *new_scope(scope);
  // The values see the outer scope only, whatever their order.
  for (const auto& [target, value] : s.bindings) assign(*target, evaluate(*value, scope), inner);
  execute(s.body, inner);
}

// --- loops ---

void Interpreter::execute_for(const Statement& s, Scope& scope) {
  run_loop(s, evaluate(*s.value, scope), scope, 0);
}

std::span<const Value> Interpreter::filtered(const Statement& s, std::span<const Value> items,
                                             Scope& scope) {
  Value* const kept = heap.array<Value>(items.size());
  if (kept == nullptr) return {};
  size_t count = 0;
  Scope& inner = *new_scope(scope);
  for (const Value& item : items) {
    if (!heap.spend(1)) break;
    assign(*s.target, item, inner);
    if (truthy(evaluate(*s.filter, inner))) kept[count++] = item;
  }
  return {kept, count};
}

void Interpreter::run_loop(const Statement& s, const Value& iterable, Scope& scope,
                           int64_t depth0) {
  std::span<const Value> items = iterate(heap, iterable);
  if (s.filter != nullptr) items = filtered(s, items, scope);
  if (heap.failed()) return;
  if (items.empty()) return void(execute(s.otherwise, *new_scope(scope)));
  Loop* const loop = heap.make<Loop>();
  loop->items = items;
  loop->depth0 = depth0;
  loop->statement = &s;
  loop->scope = &scope;
  run_iterations(s, *loop, scope);
}

void Interpreter::run_iterations(const Statement& s, Loop& loop, Scope& scope) {
  Scope* inner = new_scope(scope);
  for (size_t i = 0; i < loop.items.size() && heap.spend(1); ++i) {
    loop.index0 = i;
    if (s.makes_closures && i > 0) inner = new_scope(scope);
    inner->size = 0;
    set(*inner, program_.loop, Value::of(&loop));
    assign(*s.target, loop.items[i], *inner);
    if (execute(s.body, *inner) == Flow::kBreak) break;
  }
}

// --- macros ---

Value Interpreter::make_macro(const Statement& s, Scope& scope) {
  Callable* const macro = heap.make<Callable>();
  macro->macro = &s;
  macro->scope = &scope;
  return Value::of(macro);
}

void Interpreter::execute_call_block(const Statement& s, Scope& scope) {
  const NamedValue caller{"caller", make_macro(s, scope)};
  print(evaluate_call(*s.value, scope, &caller));
}

void Interpreter::bind_macro(const Statement& m, const Arguments& arguments, Scope& scope) {
  const size_t count = m.parameters.size();
  for (size_t i = 0; i < count; ++i) {
    const Parameter& parameter = m.parameters[i];
    const Value* const named = arguments.find(parameter.name);
    if (i < arguments.positional.size()) {
      if (named != nullptr)
        return heap.fail("macro '%.*s' got two values for one parameter",
                         static_cast<int>(m.text.size()), m.text.data());
      set(scope, parameter.symbol, arguments.positional[i]);
    } else if (named != nullptr) {
      set(scope, parameter.symbol, *named);
    } else if (parameter.otherwise != nullptr) {
      set(scope, parameter.symbol, evaluate(*parameter.otherwise, scope));
    } else {
      set(scope, parameter.symbol, Value::undefined(parameter.name));
    }
  }
  if (m.uses_varargs) {
    const size_t from = std::min(count, arguments.positional.size());
    set(scope, program_.varargs, make_list(heap, arguments.positional.subspan(from), Kind::kTuple));
  } else if (arguments.positional.size() > count) {
    return heap.fail("macro '%.*s' takes not more than %zu arguments",
                     static_cast<int>(m.text.size()), m.text.data(), count);
  }
  Dict* const rest = heap.make<Dict>();
  for (const NamedValue& argument : arguments.named) {
    const bool is_parameter =
        std::any_of(m.parameters.begin(), m.parameters.end(),
                    [&](const Parameter& p) { return p.name == argument.name; });
    if (is_parameter) continue;
    if (argument.name == "caller" && m.uses_caller) {
      set(scope, program_.caller, argument.value);
    } else if (m.uses_kwargs) {
      rest->set(heap, Value::string(argument.name), argument.value);
    } else {
      return heap.fail("macro '%.*s' takes no argument '%.*s'", static_cast<int>(m.text.size()),
                       m.text.data(), static_cast<int>(argument.name.size()), argument.name.data());
    }
  }
  if (m.uses_kwargs) set(scope, program_.kwargs, Value::of(Kind::kDict, rest));
}

Value Interpreter::call_macro(const Callable& macro, const Arguments& arguments) {
  const Nesting nesting(heap);
  if (!nesting) return {};
  Scope& scope = *new_scope(*macro.scope);
  if (macro.macro->uses_caller) set(scope, program_.caller, Value::undefined("caller"));
  bind_macro(*macro.macro, arguments, scope);
  return capture(macro.macro->body, scope);
}

Value Interpreter::call(const Value& callee, const Arguments& arguments) {
  if (callee.kind() == Kind::kLoop) {
    const Loop& loop = callee.loop();
    if (!loop.statement->recursive) return heap.fail("the loop is not recursive"), Value();
    if (arguments.positional.size() != 1) return heap.fail("loop() takes one argument"), Value();
    const Nesting nesting(heap);
    if (!nesting) return {};
    const size_t start = output_.size();
    ++captures_;
    run_loop(*loop.statement, arguments.positional[0], *loop.scope, loop.depth0 + 1);
    --captures_;
    return take_output(start);
  }
  if (callee.kind() != Kind::kCallable) {
    if (callee.is_undefined()) {
      heap.fail("'%.*s' is undefined", static_cast<int>(std::min<size_t>(callee.text().size(), 64)),
                callee.text().data());
    } else {
      heap.fail("'%s' object is not callable", type_name(callee));
    }
    return {};
  }
  const Callable& callable = callee.callable();
  if (callable.macro != nullptr) return call_macro(callable, arguments);
  return callable.function(*this, callable.self, arguments);
}

}  // namespace geist::text::jinja
