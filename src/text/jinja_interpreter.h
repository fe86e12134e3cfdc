// The interpreter: walks a Program over a context. It reaches nothing but the values it is given:
// an attribute is a key of a dict, a field of loop, or a name in the fixed method tables.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "text/chat_template.h"
#include "text/jinja_ast.h"
#include "text/jinja_call.h"
#include "text/jinja_value.h"

namespace geist::text::jinja {

class Interpreter;

// A filter, a method or a test: the value it is applied to, then the arguments. Tests answer a
// bool.
using Function = Value (*)(Interpreter&, const Value& self, const Arguments&);
struct NamedFunction {
  std::string_view name;
  Function function;
};

// Variables of one scope. Inner scopes are few and small: a scan beats a map.
struct Scope {
  struct Slot {
    Symbol symbol;
    Value value;
  };
  Scope* parent = nullptr;
  Slot* slots = nullptr;
  uint32_t size = 0, capacity = 0;
};

struct Callable {
  Function function = nullptr;  // a global or a method of self; null: a macro
  Value self;
  const Statement* macro = nullptr;
  Scope* scope = nullptr;  // where the macro was defined
};

// The state behind the variable `loop`.
struct Loop {
  std::span<const Value> items;
  size_t index0 = 0;
  int64_t depth0 = 0;
  bool has_changed_value = false;
  Value changed_value;
  const Statement* statement = nullptr;  // called again by a recursive loop
  Scope* scope = nullptr;
};

class Interpreter {
 public:
  Interpreter(const Program& program, Heap& owner, int64_t now_s)
      : program_(program), heap(owner), unix_time_s(now_s) {}

  // The output; meaningless when the heap has failed. Call once.
  std::string render(const Value& context);
  // Where {% generation %} blocks printed, in order.
  const std::vector<TextSpan>& generated() const { return generated_; }

  Value call(const Value& callee, const Arguments& arguments);
  Value call_filter(std::string_view name, const Value& input, const Arguments& arguments);
  bool call_test(std::string_view name, const Value& input, const Arguments& arguments);

  // value.name and value[key]: each falls back to the other, as in Jinja. Undefined when absent.
  Value attribute(const Value& value, std::string_view name);
  Value item(const Value& value, const Value& key);
  // item() along a path like "function.name" or an integer, for filters with an attribute. What is
  // absent at a step of the path is `otherwise`, if that is given and not None.
  Value attribute_path(const Value& value, const Value& path,
                       const Value& otherwise = Value::none());

 private:
  const Program& program_;

 public:
  Heap& heap;
  const int64_t unix_time_s;  // what strftime_now sees

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  struct CallFrame;

  Flow execute(const Body& body, Scope& scope);
  Flow execute(const Statement& statement, Scope& scope);
  Flow execute_if(const Statement& statement, Scope& scope);
  void execute_for(const Statement& statement, Scope& scope);
  void run_loop(const Statement& statement, const Value& iterable, Scope& scope, int64_t depth0);
  void run_iterations(const Statement& statement, Loop& loop, Scope& scope);
  std::span<const Value> filtered(const Statement& statement, std::span<const Value> items,
                                  Scope& scope);
  void execute_with(const Statement& statement, Scope& scope);
  Flow execute_generation(const Statement& statement, Scope& scope);
  void execute_call_block(const Statement& statement, Scope& scope);
  void print(const Value& value);
  // Runs the body and takes what it printed out of the output.
  Value capture(const Body& body, Scope& scope);
  Value take_output(size_t start);

  void assign(const Expr& target, const Value& value, Scope& scope);
  void assign_tuple(const Expr& target, const Value& value, Scope& scope);
  void set(Scope& scope, Symbol symbol, const Value& value);
  Value lookup(const Scope& scope, Symbol symbol);
  Scope* new_scope(Scope& parent);

  Value evaluate(const Expr& expr, Scope& scope);
  Value evaluate_items(const Expr& expr, Scope& scope, Kind kind);
  Value evaluate_dict(const Expr& expr, Scope& scope);
  Value evaluate_item(const Expr& expr, Scope& scope);
  Value evaluate_call(const Expr& expr, Scope& scope, const NamedValue* extra = nullptr);
  Value evaluate_filter(const Expr& expr, const Value* input, Scope& scope);
  Value evaluate_test(const Expr& expr, Scope& scope);
  Value evaluate_arithmetic(const Expr& expr, Scope& scope);
  Value evaluate_concatenation(const Expr& expr, Scope& scope);
  Value evaluate_comparison(const Expr& expr, Scope& scope);
  Value evaluate_conditional(const Expr& expr, Scope& scope);
  void evaluate_arguments(const CallArguments& arguments, Scope& scope, CallFrame& frame);

  Value make_macro(const Statement& statement, Scope& scope);
  Value call_macro(const Callable& macro, const Arguments& arguments);
  void bind_macro(const Statement& macro, const Arguments& arguments, Scope& scope);

  Value* root_ = nullptr;  // the template's own variables and the context's, by symbol
  Scope root_scope_;
  std::string output_;
  std::vector<TextSpan> generated_;
  int captures_ = 0;  // around what is executed: its output is taken out again
};

// --- The fixed tables of names
// ---------------------------------------------------------------------

const Function* find_function(std::span<const NamedFunction> table, std::string_view name);
const Function* find_filter(std::string_view name);
const Function* find_test(std::string_view name);
const Function* find_global(std::string_view name);
// The method of a value's type; null when there is none.
const Function* find_method(const Value& value, std::string_view name);

std::span<const NamedFunction> string_methods();
std::span<const NamedFunction> text_filters();
std::span<const NamedFunction> sequence_filters();
std::span<const NamedFunction> number_filters();

// --- Operators (jinja_operators.cc)
// ----------------------------------------------------------------

Value apply_operator(Heap& heap, Operator op, const Value& a, const Value& b);
Value negate(Heap& heap, const Value& value);
// value[start:stop:step]; an absent part is None.
Value slice(Heap& heap, const Value& value, const Value& start, const Value& stop,
            const Value& step);

// "2026-01-31" from "%Y-%m-%d", UTC, English names, as C's strftime and glibc's flags do.
std::string format_time(Heap& heap, std::string_view format, int64_t unix_time_s);

}  // namespace geist::text::jinja
