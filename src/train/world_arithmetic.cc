// Arithmetic: two to four steps of + - *, from the left, no result below 1 or above kValueMax.
#include <algorithm>

#include "train/world_skills.h"

namespace geist::train {
namespace {

constexpr int64_t kValueMax = 199, kOperandMax = 30, kFactorMax = 5;

struct Sum {
  std::string expression, steps, wrong_steps;
  int64_t value = 0, wrong_value = 0;
};

int64_t apply(char op, int64_t a, int64_t b) {
  return op == '+' ? a + b : op == '-' ? a - b : a * b;
}

int64_t draw_operand(int64_t max, RandomStream& random) {
  return 2 + static_cast<int64_t>(random.next_below(static_cast<uint64_t>(max - 1)));
}

Sum draw_sum(RandomStream& random) {
  const int steps = 2 + static_cast<int>(random.next_below(3));
  const int slip = static_cast<int>(random.next_below(static_cast<uint64_t>(steps)));
  Sum sum;
  sum.value = sum.wrong_value = draw_operand(kOperandMax, random);
  sum.expression = std::to_string(sum.value);
  for (int i = 0; i < steps;) {
    const char op = "++-*"[random.next_below(4)];
    int64_t other = draw_operand(op == '*' ? kFactorMax : kOperandMax, random);
    if (op == '-') other = std::min(other, sum.value - 1);
    const int64_t next = apply(op, sum.value, other);
    if (next > kValueMax || other < 1) continue;
    const std::string tail = std::string(" ") + op + " " + std::to_string(other) + " = ";
    sum.steps += std::to_string(sum.value) + tail + std::to_string(next) + "\n";
    int64_t wrong = apply(op, sum.wrong_value, other);
    if (i == slip) wrong += random.next_below(2) == 0 ? 1 : 10;
    sum.wrong_steps += std::to_string(sum.wrong_value) + tail + std::to_string(wrong) + "\n";
    // What comes before a product is put in brackets.
    if (op == '*' && i > 0) sum.expression = "(" + sum.expression + ")";
    sum.expression += std::string(" ") + op + " " + std::to_string(other);
    sum.value = next;
    sum.wrong_value = wrong;
    ++i;
  }
  return sum;
}

}  // namespace

Problem make_arithmetic(Split split, RandomStream& random) {
  Sum sum;
  do {
    sum = draw_sum(random);
  } while (split_of("sum " + sum.expression) != contents_of(split) || sum.wrong_value == sum.value);
  Problem p;
  p.skill = Skill::kArithmetic;
  p.keys = {"sum " + sum.expression};
  p.messages = {{"user", expand("{What is $sum?|Work out $sum.|Calculate $sum step by step.|$sum = "
                                "?|Can you solve $sum?|Do this sum: $sum||Find the value of "
                                "$sum.|How much is $sum?}",
                                {{"sum", sum.expression}}, wording_of(split), random)}};
  p.answer = sum.steps + "Answer: " + std::to_string(sum.value);
  p.worse = sum.wrong_steps + "Answer: " + std::to_string(sum.wrong_value);
  p.check = check_of("number", std::to_string(sum.value));
  return p;
}

}  // namespace geist::train
