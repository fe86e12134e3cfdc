// The parsed template. Nodes are immutable, owned by a Program, and point at each other; nothing
// but the interpreter walks them, so no recursion is hidden in a destructor.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_value.h"

namespace geist::text::jinja {

using Symbol = uint32_t;  // a variable's name, numbered in order of first appearance

enum class ExprKind : uint8_t {
  kLiteral,
  kName,
  kNamespaceTarget,  // ns.text, on the left of set
  kTuple,
  kList,
  kDict,       // operands: key, value, key, value, ...
  kAttribute,  // operands[0].text
  kItem,       // operands[0][operands[1]]
  kSlice,      // start, stop, step; each may be null. Only under kItem
  kCall,       // operands[0](arguments)
  kFilter,     // operands[0] | text(arguments); operands[0] null in filter blocks
  kTest,       // operands[0] is text(arguments)
  kNot,
  kNegate,
  kPlus,
  kArithmetic,   // operands joined left to right by operators[i]
  kConcatenate,  // ~
  kCompare,      // a < b < c: operators[i] between operands i and i + 1
  kAnd,
  kOr,
  kConditional,  // operands: condition, value, otherwise (may be null)
};

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expr;

struct CallArguments {
  std::vector<const Expr*> positional;
  std::vector<std::pair<std::string_view, const Expr*>> named;
  const Expr* star = nullptr;       // *sequence
  const Expr* star_star = nullptr;  // **mapping
};

struct Expr {
  ExprKind kind = ExprKind::kLiteral;
  int line = 0;
  Symbol symbol = 0;
  std::string_view text;
  Value literal;
  std::vector<const Expr*> operands;
  std::vector<Operator> operators;
  CallArguments arguments;
};

enum class StatementKind : uint8_t {
  kText,
  kPrint,
  kIf,
  kFor,
  kSet,       // target = value
  kSetBlock,  // target = body, through value's filters when there are any
  kMacro,
  kCallBlock,  // value is the call, body its caller()
  kFilterBlock,
  kWith,        // targets[i] = values[i] around body
  kScope,       // block: a body with variables of its own
  kGeneration,  // the same, and what it prints is an assistant's
  kDo,
  kBreak,
  kContinue,
};

struct Statement;
using Body = std::vector<const Statement*>;

struct Branch {
  const Expr* condition;
  Body body;
};

struct Parameter {
  Symbol symbol;
  std::string_view name;
  const Expr* otherwise;  // null: no default
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string_view text;  // kText; the macro's name
  Symbol symbol = 0;      // the macro's variable
  const Expr* target = nullptr;
  const Expr* value = nullptr;
  const Expr* filter = nullptr;  // for ... if filter
  bool recursive = false;
  // Whether a macro or caller made inside may outlive an iteration, and with it the iteration's
  // variables.
  bool makes_closures = false;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<const Expr*, const Expr*>> bindings;  // kWith
  Body body, otherwise;
};

struct Program {
  std::string source;
  std::deque<std::string> owned;
  std::deque<Expr> expressions;
  std::deque<Statement> statements;
  std::vector<std::string_view> symbols;
  Symbol loop = 0, caller = 0, varargs = 0, kwargs = 0;
  bool marks_generation = false;
  Body body;
};

}  // namespace geist::text::jinja
