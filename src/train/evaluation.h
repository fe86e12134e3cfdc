// What a model can do, measured: problems that it answers and a rule grades, pairs of answers that
// it ranks, and text that it predicts. Answers are greedy and made many at a time by the engine's
// scheduler; every figure depends on the model and the suite alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace geist::train {

// {"skill", "messages", "tools"?, "check"}: to be answered (train/world.h's eval_line), or
// {"prompt", "tools"?, "chosen", "rejected"}: to be ranked (pair_line).
struct EvalItem {
  std::string skill;            // "pairs" of pairs
  std::string messages, tools;  // JSON
  std::string check;            // of a problem
  std::string chosen, rejected;
  bool is_pair() const { return check.empty(); }
};

// A suite: a file of JSON Lines, a folder of them (in the order of their names), or one that is
// drawn from the small world, `count` of each skill: "world" (held-out contents),
// "world-new-wording" (and held-out wordings), "world-pairs".
struct Suite {
  std::string name;
  std::vector<EvalItem> items;
};
Result<Suite> read_suite(const std::string& name, int64_t count);

struct SkillScore {
  int64_t problems = 0, right = 0;
  int64_t valid = 0;   // of tool calls: well formed and of the right tool
  int64_t tokens = 0;  // of the answers
  int64_t cut = 0;     // did not end within the limit, or did not fit into the context
};

// In the order in which skills first come.
using Scores = std::vector<std::pair<std::string, SkillScore>>;

struct EvalModel {
  const model::Model& model;
  const text::Tokenizer& tokenizer;
  const gguf::Metadata& metadata;
  ThreadPool& pool;
};

struct EvalOptions {
  int32_t tokens_max = 160;  // of an answer
  int64_t at_once = 32;      // sessions side by side
};

// Told of each item as it ends, in no useful order; false stops.
struct EvalAnswer {
  size_t index;
  std::string text;  // of a pair: empty
  bool right, valid;
};
using EvalObserver = std::function<bool(const EvalAnswer& answer)>;

Result<Scores> run_suite(const EvalModel& model, const Suite& suite, const EvalOptions& options,
                         const EvalObserver& observer);

struct TextScore {
  int64_t documents = 0, tokens = 0;  // tokens: predicted
  uint64_t bytes = 0;
  double nats = 0;
  double bits_per_byte() const;
  double perplexity() const;
};

// Documents as [BOS] text [EOS], in windows of the model's context.
Result<TextScore> score_text(const EvalModel& model, const std::vector<std::string>& documents,
                             const std::function<bool(int64_t documents_done)>& observer);
// The same documents and predictions under an n-gram model of the training text, with as many
// numbers as the model has parameters.
struct NgramScore {
  TextScore score;
  int order = 0;
  int64_t numbers = 0, count_min = 0;
};
Result<NgramScore> score_ngram(const EvalModel& model, const std::vector<std::string>& training,
                               const std::vector<std::string>& documents, int64_t numbers_max);

}  // namespace geist::train
