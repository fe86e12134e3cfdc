// A recursive descent parser, one function for each level of precedence. Errors are sticky: the
// first one is recorded and the current token becomes the end of the template, where every loop
// stops; functions return a dummy node, never null.
#include "text/jinja_parser.h"

#include <algorithm>

namespace geist::text::jinja {
namespace {

constexpr int kNestingMax = 200;
constexpr size_t kSourceBytesMax = 16 << 20;

class Parser {
 public:
  Parser(Program& program, const std::vector<Token>& tokens)
      : program_(program), tokens_(tokens), token_(tokens.data()) {
    program_.loop = symbol("loop");
    program_.caller = symbol("caller");
    program_.varargs = symbol("varargs");
    program_.kwargs = symbol("kwargs");
  }

  Status run() {
    program_.body = statements({});
    if (token_->kind != TokenKind::kEnd) fail("unexpected tag");
    if (error_.empty()) return {};
    return Error{error_};
  }

 private:
  // What the enclosing constructs need to know of the code inside them.
  struct Enclosing {
    Statement* statement;
    bool loop;  // break and continue are allowed
  };

  class Depth {
   public:
    explicit Depth(Parser& parser) : parser_(parser) {
      if (++parser.depth_ > kNestingMax) parser.fail("the template nests too deeply");
    }
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Parser& parser_;
  };

  // --- tokens ---
  bool is_operator(std::string_view text) const {
    return token_->kind == TokenKind::kOperator && token_->text == text;
  }
  bool is_name(std::string_view text) const {
    return token_->kind == TokenKind::kName && token_->text == text;
  }
  bool is_one_of(std::initializer_list<std::string_view> names) const {
    return token_->kind == TokenKind::kName &&
           std::find(names.begin(), names.end(), token_->text) != names.end();
  }
  void next() {
    if (token_->kind != TokenKind::kEnd) ++token_;
  }
  const Token& look() const { return token_->kind == TokenKind::kEnd ? *token_ : token_[1]; }
  bool skip_operator(std::string_view text) { return is_operator(text) && (next(), true); }
  bool skip_name(std::string_view text) { return is_name(text) && (next(), true); }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail("expected '" + std::string(text) + "'");
  }
  std::string_view expect_name() {
    if (token_->kind != TokenKind::kName) return fail("expected a name"), std::string_view("?");
    const std::string_view text = token_->text;
    next();
    return text;
  }
  void expect(TokenKind kind, const char* what) {
    if (token_->kind != kind) return fail(std::string("expected ") + what);
    next();
  }
  void fail(const std::string& what) {
    if (error_.empty()) {
      error_ = position_of(program_.source, token_->offset) + ": " + what;
      if (token_->kind != TokenKind::kEnd && !token_->text.empty()) {
        error_ += ", got '" + std::string(token_->text.substr(0, 32)) + "'";
      }
    }
    token_ = &tokens_.back();
  }

  Symbol symbol(std::string_view name) {
    const auto [it, added] =
        symbols_.try_emplace(name, static_cast<Symbol>(program_.symbols.size()));
    if (added) program_.symbols.push_back(name);
    return it->second;
  }

  // Tokens come in order of offset: lines are counted as they pass.
  int line() {
    const char* const source = program_.source.data();
    if (token_->offset > line_offset_) {
      line_ += static_cast<int>(std::count(source + line_offset_, source + token_->offset, '\n'));
      line_offset_ = token_->offset;
    }
    return line_;
  }
  Expr* make(ExprKind kind) {
    Expr& expr = program_.expressions.emplace_back();
    expr.kind = kind;
    expr.line = line();
    return &expr;
  }
  Expr* make(ExprKind kind, std::initializer_list<const Expr*> operands) {
    Expr* const expr = make(kind);
    expr->operands = operands;
    return expr;
  }
  Statement* make(StatementKind kind) {
    Statement& node = program_.statements.emplace_back();
    node.kind = kind;
    node.line = line();
    return &node;
  }

  // --- statements ---
  // Up to a block that starts with one of the names, which is left as the current token.
  Body statements(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    Body body;
    for (;;) {
      switch (token_->kind) {
        case TokenKind::kData: {
          Statement* const text = make(StatementKind::kText);
          text->text = token_->text;
          body.push_back(text);
          next();
          break;
        }
        case TokenKind::kPrintBegin: {
          next();
          Statement* const print = make(StatementKind::kPrint);
          print->value = tuple();
          body.push_back(print);
          expect(TokenKind::kPrintEnd, "'}}'");
          break;
        }
        case TokenKind::kBlockBegin:
          next();
          if (is_one_of(ends)) return body;
          body.push_back(statement());
          expect(TokenKind::kBlockEnd, "'%}'");
          break;
        default:
          if (token_->kind != TokenKind::kEnd) fail("unexpected text");
          if (ends.size() > 0) fail("expected '{% " + std::string(*(ends.end() - 1)) + " %}'");
          return body;
      }
    }
  }

  // A body after the opening tag's end, closed by {% end %}.
  Body body_until(std::string_view end) {
    expect(TokenKind::kBlockEnd, "'%}'");
    Body body = statements({end});
    next();
    return body;
  }

  const Statement* statement() {
    const std::string_view name = token_->kind == TokenKind::kName ? token_->text : "";
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "call") return call_statement();
    if (name == "filter") return filter_statement();
    if (name == "with") return with_statement();
    if (name == "generation") return scope_statement("endgeneration");
    if (name == "block") return scope_statement("endblock");
    if (name == "do") return do_statement();
    if (name == "break" || name == "continue") return jump_statement();
    fail("unknown tag");
    return make(StatementKind::kText);
  }

  const Statement* if_statement() {
    Statement* const node = make(StatementKind::kIf);
    do {
      next();
      const Expr* const condition = tuple(false);
      expect(TokenKind::kBlockEnd, "'%}'");
      node->branches.push_back({condition, statements({"elif", "else", "endif"})});
    } while (is_name("elif"));
    if (skip_name("else")) {
      node->otherwise = body_until("endif");
    } else {
      next();
    }
    return node;
  }

  const Statement* for_statement() {
    Statement* const node = make(StatementKind::kFor);
    next();
    node->target = assign_target("in");
    if (!skip_name("in")) fail("expected 'in'");
    node->value = tuple(false, "recursive");
    if (skip_name("if")) node->filter = expression();
    node->recursive = skip_name("recursive");
    expect(TokenKind::kBlockEnd, "'%}'");
    enclosing_.push_back({node, true});
    node->body = statements({"else", "endfor"});
    enclosing_.pop_back();
    if (skip_name("else")) {
      node->otherwise = body_until("endfor");
    } else {
      next();
    }
    return node;
  }

  const Statement* set_statement() {
    Statement* const node = make(StatementKind::kSet);
    next();
    node->target = assign_target("", true);
    if (skip_operator("=")) {
      node->value = tuple();
      return node;
    }
    node->kind = StatementKind::kSetBlock;
    if (is_operator("|")) node->value = filters(nullptr);
    node->body = body_until("endset");
    return node;
  }

  void signature(Statement* node) {
    expect_operator("(");
    while (!is_operator(")") && error_.empty()) {
      if (!node->parameters.empty()) expect_operator(",");
      if (is_operator(")")) break;
      const std::string_view name = expect_name();
      const Expr* otherwise = nullptr;
      if (skip_operator("=")) {
        otherwise = expression();
      } else if (!node->parameters.empty() && node->parameters.back().otherwise != nullptr) {
        fail("a parameter without default follows one with");
      }
      node->parameters.push_back({symbol(name), name, otherwise});
    }
    expect_operator(")");
  }

  // Parses the body of a macro or call block, in which names like varargs have a meaning.
  void closure_body(Statement* node, std::string_view end) {
    for (Enclosing& outer : enclosing_) outer.statement->makes_closures = true;
    enclosing_.push_back({node, false});
    node->body = body_until(end);
    enclosing_.pop_back();
  }

  const Statement* macro_statement() {
    Statement* const node = make(StatementKind::kMacro);
    next();
    node->text = expect_name();
    node->symbol = symbol(node->text);
    enclosing_.push_back({node, false});  // defaults may use caller, too
    signature(node);
    enclosing_.pop_back();
    closure_body(node, "endmacro");
    return node;
  }

  const Statement* call_statement() {
    Statement* const node = make(StatementKind::kCallBlock);
    next();
    node->text = "caller";
    if (is_operator("(")) signature(node);
    node->value = expression();
    if (node->value->kind != ExprKind::kCall) fail("expected a call");
    closure_body(node, "endcall");
    return node;
  }

  const Statement* filter_statement() {
    Statement* const node = make(StatementKind::kFilterBlock);
    next();
    node->value = filters(nullptr, true);
    node->body = body_until("endfilter");
    return node;
  }

  const Statement* with_statement() {
    Statement* const node = make(StatementKind::kWith);
    next();
    while (token_->kind == TokenKind::kName) {
      const Expr* const target = assign_target("");
      expect_operator("=");
      node->bindings.emplace_back(target, expression());
      if (!skip_operator(",")) break;
    }
    node->body = body_until("endwith");
    return node;
  }

  const Statement* scope_statement(std::string_view end) {
    Statement* const node =
        make(end == "endblock" ? StatementKind::kScope : StatementKind::kGeneration);
    program_.marks_generation |= end == "endgeneration";
    next();
    if (end == "endblock") expect_name();
    node->body = body_until(end);
    if (end == "endblock" && token_->kind == TokenKind::kName) next();
    return node;
  }

  const Statement* do_statement() {
    Statement* const node = make(StatementKind::kDo);
    next();
    node->value = tuple();
    return node;
  }

  const Statement* jump_statement() {
    Statement* const node =
        make(is_name("break") ? StatementKind::kBreak : StatementKind::kContinue);
    if (enclosing_.empty() || !enclosing_.back().loop) fail("not inside a loop");
    next();
    return node;
  }

  // Names, tuples of them, and ns.attribute where allowed.
  const Expr* assign_target(std::string_view end, bool namespaces = false) {
    const Depth depth(*this);
    std::vector<const Expr*> targets;
    bool is_tuple = false;
    do {
      if (!end.empty() && is_name(end)) break;
      if (targets.size() > 0 && token_->kind != TokenKind::kName && !is_operator("(")) break;
      targets.push_back(single_target(namespaces));
      is_tuple |= is_operator(",");
    } while (!end.empty() || namespaces ? skip_operator(",") : false);
    if (!is_tuple && targets.size() == 1) return targets[0];
    Expr* const tuple = make(ExprKind::kTuple);
    tuple->operands = std::move(targets);
    return tuple;
  }

  const Expr* single_target(bool namespaces) {
    if (skip_operator("(")) {
      const Expr* const inner = assign_target(")", namespaces);
      expect_operator(")");
      return inner;
    }
    if (is_one_of({"true", "false", "none", "True", "False", "None"}))
      fail("cannot assign to a constant");
    Expr* const target = make(ExprKind::kName);
    target->text = expect_name();
    target->symbol = symbol(target->text);
    if (namespaces && skip_operator(".")) {
      target->kind = ExprKind::kNamespaceTarget;
      target->text = expect_name();
    }
    return target;
  }

  // --- expressions, loosest first ---
  const Expr* expression(bool conditional = true) {
    return conditional ? conditional_expression() : or_expression();
  }

  // An expression, or several with commas as a tuple; `end` is a name that may follow a last comma.
  const Expr* tuple(bool conditional = true, std::string_view end = "",
                    bool in_parentheses = false) {
    std::vector<const Expr*> items;
    bool is_tuple = false;
    for (;;) {
      if (tuple_ends(end)) break;
      items.push_back(expression(conditional));
      if (!skip_operator(",")) break;
      is_tuple = true;
    }
    if (!is_tuple && items.size() == 1) return items[0];
    if (items.empty() && !in_parentheses) fail("expected an expression");
    Expr* const node = make(ExprKind::kTuple);
    node->operands = std::move(items);
    return node;
  }
  bool tuple_ends(std::string_view end) const {
    return token_->kind == TokenKind::kPrintEnd || token_->kind == TokenKind::kBlockEnd ||
           token_->kind == TokenKind::kEnd || is_operator(")") || (!end.empty() && is_name(end));
  }

  const Expr* conditional_expression() {
    const Depth depth(*this);
    const Expr* value = or_expression();
    while (skip_name("if")) {
      const Expr* const condition = or_expression();
      const Expr* const otherwise = skip_name("else") ? conditional_expression() : nullptr;
      value = make(ExprKind::kConditional, {condition, value, otherwise});
    }
    return value;
  }

  const Expr* or_expression() {
    const Expr* const first = and_expression();
    if (!is_name("or")) return first;
    Expr* const node = make(ExprKind::kOr, {first});
    while (skip_name("or")) node->operands.push_back(and_expression());
    return node;
  }

  const Expr* and_expression() {
    const Expr* const first = not_expression();
    if (!is_name("and")) return first;
    Expr* const node = make(ExprKind::kAnd, {first});
    while (skip_name("and")) node->operands.push_back(not_expression());
    return node;
  }

  const Expr* not_expression() {
    const Depth depth(*this);
    if (!skip_name("not")) return comparison();
    return make(ExprKind::kNot, {not_expression()});
  }

  bool comparison_operator(Operator* op) {
    static constexpr std::pair<std::string_view, Operator> kOperators[] = {
        {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
        {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
    for (const auto& [text, candidate] : kOperators) {
      if (skip_operator(text)) return *op = candidate, true;
    }
    if (skip_name("in")) return *op = Operator::kIn, true;
    if (is_name("not") && look().kind == TokenKind::kName && look().text == "in") {
      next();
      next();
      return *op = Operator::kNotIn, true;
    }
    return false;
  }

  const Expr* comparison() {
    const Expr* const first = sum();
    Operator op;
    if (!comparison_operator(&op)) return first;
    Expr* const node = make(ExprKind::kCompare, {first});
    do {
      node->operators.push_back(op);
      node->operands.push_back(sum());
    } while (comparison_operator(&op));
    return node;
  }

  using Level = const Expr* (Parser::*)();
  // A left-associative level: operands of the next one, joined by any of the operators.
  const Expr* chain(Level operand,
                    std::initializer_list<std::pair<std::string_view, Operator>> operators) {
    const Expr* const first = (this->*operand)();
    Expr* node = nullptr;
    for (;;) {
      const auto* found = std::find_if(operators.begin(), operators.end(),
                                       [&](const auto& entry) { return is_operator(entry.first); });
      if (found == operators.end()) return node != nullptr ? node : first;
      if (node == nullptr) node = make(ExprKind::kArithmetic, {first});
      next();
      node->operators.push_back(found->second);
      node->operands.push_back((this->*operand)());
    }
  }

  const Expr* sum() {
    return chain(&Parser::concatenation, {{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
  }

  const Expr* concatenation() {
    const Expr* const first = product();
    if (!is_operator("~")) return first;
    Expr* const node = make(ExprKind::kConcatenate, {first});
    while (skip_operator("~")) node->operands.push_back(product());
    return node;
  }

  const Expr* product() {
    return chain(&Parser::power, {{"*", Operator::kMultiply},
                                  {"/", Operator::kDivide},
                                  {"//", Operator::kFloorDivide},
                                  {"%", Operator::kModulo}});
  }
  const Expr* power() { return chain(&Parser::unary_with_filters, {{"**", Operator::kPower}}); }
  const Expr* unary_with_filters() { return unary(true); }

  const Expr* unary(bool with_filters) {
    const Depth depth(*this);
    const Expr* node;
    if (skip_operator("-")) {
      node = make(ExprKind::kNegate, {unary(false)});
    } else if (skip_operator("+")) {
      node = make(ExprKind::kPlus, {unary(false)});
    } else {
      node = primary();
    }
    node = postfix(node);
    return with_filters ? filters_and_tests(node) : node;
  }

  Expr* literal(const Value& value) {
    Expr* const node = make(ExprKind::kLiteral);
    node->literal = value;
    return node;
  }

  const Expr* primary() {
    const Token& token = *token_;
    switch (token.kind) {
      case TokenKind::kName:
        return name();
      case TokenKind::kString:
        return string();
      case TokenKind::kInteger:
        next();
        return literal(Value::integer(token.integer));
      case TokenKind::kFloat:
        next();
        return literal(Value::real(token.real));
      default:
        break;
    }
    if (skip_operator("(")) {
      const Expr* const inner = tuple(true, "", true);
      expect_operator(")");
      return inner;
    }
    if (is_operator("[")) return list();
    if (is_operator("{")) return dict();
    fail("expected an expression");
    return make(ExprKind::kLiteral);
  }

  const Expr* name() {
    const std::string_view text = expect_name();
    if (text == "true" || text == "True") return literal(Value::boolean(true));
    if (text == "false" || text == "False") return literal(Value::boolean(false));
    if (text == "none" || text == "None") return literal(Value::none());
    Expr* const node = make(ExprKind::kName);
    node->text = text;
    node->symbol = symbol(text);
    for (Enclosing& outer : enclosing_) {
      outer.statement->uses_varargs |= node->symbol == program_.varargs;
      outer.statement->uses_kwargs |= node->symbol == program_.kwargs;
      outer.statement->uses_caller |= node->symbol == program_.caller;
    }
    return node;
  }

  const Expr* string() {
    std::string_view text = token_->text;
    next();
    if (token_->kind == TokenKind::kString) {  // neighbours are one string
      std::string joined(text);
      for (; token_->kind == TokenKind::kString; next()) joined += token_->text;
      text = program_.owned.emplace_back(std::move(joined));
    }
    return literal(Value::string(text));
  }

  const Expr* list() {
    Expr* const node = make(ExprKind::kList);
    next();
    while (!is_operator("]") && error_.empty()) {
      node->operands.push_back(expression());
      if (!skip_operator(",")) break;
    }
    expect_operator("]");
    return node;
  }

  const Expr* dict() {
    Expr* const node = make(ExprKind::kDict);
    next();
    while (!is_operator("}") && error_.empty()) {
      node->operands.push_back(expression());
      expect_operator(":");
      node->operands.push_back(expression());
      if (!skip_operator(",")) break;
    }
    expect_operator("}");
    return node;
  }

  const Expr* postfix(const Expr* node) {
    for (;;) {
      if (skip_operator(".")) {
        node = attribute(node);
      } else if (is_operator("[")) {
        node = item(node);
      } else if (is_operator("(")) {
        node = call(node);
      } else {
        return node;
      }
    }
  }

  const Expr* filters_and_tests(const Expr* node) {
    for (;;) {
      if (is_operator("|")) {
        node = filters(node);
      } else if (is_name("is")) {
        node = test(node);
      } else if (is_operator("(")) {
        node = call(node);
      } else {
        return node;
      }
    }
  }

  const Expr* attribute(const Expr* object) {
    if (token_->kind == TokenKind::kInteger) {
      const Value index = Value::integer(token_->integer);
      next();
      return make(ExprKind::kItem, {object, literal(index)});
    }
    Expr* const node = make(ExprKind::kAttribute, {object});
    node->text = expect_name();
    return node;
  }

  const Expr* item(const Expr* object) {
    next();
    std::vector<const Expr*> keys;
    while (!is_operator("]") && error_.empty()) {
      if (!keys.empty()) expect_operator(",");
      keys.push_back(subscript());
    }
    expect_operator("]");
    if (keys.size() == 1) return make(ExprKind::kItem, {object, keys[0]});
    Expr* const tuple = make(ExprKind::kTuple);
    tuple->operands = std::move(keys);
    return make(ExprKind::kItem, {object, tuple});
  }

  const Expr* subscript() {
    const Expr* const start = is_operator(":") ? nullptr : expression();
    if (!skip_operator(":")) return start != nullptr ? start : make(ExprKind::kLiteral);
    const auto part = [&]() -> const Expr* {
      return is_operator(":") || is_operator("]") || is_operator(",") ? nullptr : expression();
    };
    const Expr* const stop = part();
    const Expr* const step = skip_operator(":") ? part() : nullptr;
    return make(ExprKind::kSlice, {start, stop, step});
  }

  const Expr* call(const Expr* callee) {
    Expr* const node = make(ExprKind::kCall, {callee});
    call_arguments(node->arguments);
    return node;
  }

  void call_arguments(CallArguments& out) {
    expect_operator("(");
    bool first = true;
    while (!is_operator(")") && error_.empty()) {
      if (!first) expect_operator(",");
      first = false;
      if (is_operator(")")) break;
      if (skip_operator("*")) {
        if (out.star != nullptr || out.star_star != nullptr) fail("a second * argument");
        out.star = expression();
      } else if (skip_operator("**")) {
        if (out.star_star != nullptr) fail("a second ** argument");
        out.star_star = expression();
      } else if (token_->kind == TokenKind::kName && look().kind == TokenKind::kOperator &&
                 look().text == "=") {
        const std::string_view name = token_->text;
        next();
        next();
        out.named.emplace_back(name, expression());
      } else {
        if (!out.named.empty() || out.star != nullptr || out.star_star != nullptr)
          fail("a positional argument follows a named one");
        out.positional.push_back(expression());
      }
    }
    expect_operator(")");
  }

  // `| a | b(c)`; with start_inline the first name comes without its bar.
  const Expr* filters(const Expr* node, bool start_inline = false) {
    while (start_inline || skip_operator("|")) {
      start_inline = false;
      Expr* const filter = make(ExprKind::kFilter, {node});
      filter->text = dotted_name();
      if (is_operator("(")) call_arguments(filter->arguments);
      node = filter;
    }
    return node;
  }

  std::string_view dotted_name() {
    std::string_view name = expect_name();
    while (skip_operator("."))
      name = program_.owned.emplace_back(std::string(name) + "." + std::string(expect_name()));
    return name;
  }

  const Expr* test(const Expr* value) {
    next();
    const bool negated = skip_name("not");
    Expr* const node = make(ExprKind::kTest, {value});
    node->text = dotted_name();
    if (is_operator("(")) {
      call_arguments(node->arguments);
    } else if (starts_test_argument()) {
      if (is_name("is")) fail("tests cannot be chained with 'is'");
      node->arguments.positional.push_back(postfix(primary()));
    }
    return negated ? make(ExprKind::kNot, {node}) : node;
  }
  bool starts_test_argument() const {
    switch (token_->kind) {
      case TokenKind::kName:
        return !is_one_of({"else", "or", "and"});
      case TokenKind::kString:
      case TokenKind::kInteger:
      case TokenKind::kFloat:
        return true;
      default:
        return is_operator("[") || is_operator("{");
    }
  }

  Program& program_;
  const std::vector<Token>& tokens_;
  const Token* token_;
  std::unordered_map<std::string_view, Symbol> symbols_;
  std::vector<Enclosing> enclosing_;
  int depth_ = 0;
  int line_ = 1;
  size_t line_offset_ = 0;
  std::string error_;
};

}  // namespace

Result<std::unique_ptr<Program>> parse_program(std::string_view source) {
  if (source.size() > kSourceBytesMax) return Error{"the template is larger than 16 MB"};
  auto program = std::make_unique<Program>();
  program->source = normalize_source(source);
  GEIST_ASSIGN(Tokens tokens, tokenize(program->source));
  program->owned = std::move(tokens.owned);
  GEIST_TRY(Parser(*program, tokens.list).run());
  return program;
}

}  // namespace geist::text::jinja
