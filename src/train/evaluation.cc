#include "train/evaluation.h"

#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/chat_format.h"
#include "engine/prompt.h"
#include "engine/reward_head.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "kernels/math.h"
#include "train/chat_encoder.h"
#include "train/corpus.h"
#include "train/ngram.h"
#include "train/preferences.h"
#include "train/world_grader.h"

namespace geist::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kLn2 = 0.6931471805599453;
constexpr int kNgramOrder = 5;
// The time that templates see: figures must not depend on the day.
constexpr int64_t kUnixTime = 0;

SkillScore& score_of(Scores& scores, const std::string& skill) {
  for (auto& [name, score] : scores)
    if (name == skill) return score;
  return scores.emplace_back(skill, SkillScore{}).second;
}

// An item at work.
struct Work {
  size_t index;
  engine::Session session;
  std::vector<text::TokenId> answer = {};
  bool ended = false, done = false;
};

class SuiteRun {
 public:
  SuiteRun(const EvalModel& model, const Suite& suite, const EvalOptions& options,
           const EvalObserver& observer, engine::ChatFormat format, ChatEncoder encoder)
      : m_(model),
        suite_(suite),
        o_(options),
        observer_(observer),
        format_(std::move(format)),
        encoder_(std::move(encoder)),
        runner_(model.model, model.pool),
        scheduler_(runner_, {}) {}

  Result<Scores> run() {
    if (m_.model.file().find(engine::kRewardHead) != nullptr) {
      GEIST_ASSIGN(reward_, engine::RewardHead::load(m_.model));
    }
    for (const EvalItem& item : suite_.items) (void)score_of(scores_, item.skill);
    size_t next = 0;
    while (next < suite_.items.size() || !work_.empty()) {
      for (; next < suite_.items.size() && work_.size() < static_cast<size_t>(o_.at_once); ++next) {
        if (suite_.items[next].is_pair())
          GEIST_TRY(rank(next));
        else
          GEIST_TRY(begin(next));
      }
      scheduler_.step();
      GEIST_TRY(collect());
      if (!go_on_) return errorf("interrupted");
    }
    return scores_;
  }

 private:
  Result<std::vector<text::TokenId>> prompt_of(const EvalItem& item) const {
    std::vector<size_t> breaks;
    GEIST_ASSIGN(const std::string text,
                 format_.render({.messages = item.messages, .tools = item.tools}, kUnixTime,
                                nullptr, &breaks));
    return engine::encode_prompt(m_.tokenizer, text, {.breaks = breaks});
  }

  Status begin(size_t index) {
    GEIST_ASSIGN(const std::vector<text::TokenId> prompt, prompt_of(suite_.items[index]));
    Work& work = work_.emplace_back(Work{index, engine::Session(m_.model, {})});
    if (!work.session.append(prompt).ok()) {  // longer than the context: no answer
      work.done = true;
      return {};
    }
    scheduler_.add(work.session, [this, &work](engine::Session& s) {
      work.done = !answer_on(work, s);
      return !work.done;
    });
    return {};
  }

  // Takes the likeliest token. False: the answer is over.
  bool answer_on(Work& work, engine::Session& session) const {
    engine::SamplerOptions greedy;
    greedy.temperature = 0;
    const text::TokenId id = engine::Sampler(greedy).sample(session.logits());
    work.ended = m_.tokenizer.is_end(id);
    if (work.ended) return false;
    work.answer.push_back(id);
    return static_cast<int32_t>(work.answer.size()) < o_.tokens_max && session.append(id).ok();
  }

  std::string text_of(const Work& work, bool* stopped) const {
    std::string text = m_.tokenizer.decode(work.answer);
    for (const std::string& stop : format_.stops()) {
      const size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      text.resize(at);
      *stopped = true;
    }
    return text;
  }

  Status collect() {
    for (auto work = work_.begin(); work != work_.end();) {
      if (!work->done) {
        ++work;
        continue;
      }
      const EvalItem& item = suite_.items[work->index];
      const std::string text = text_of(*work, &work->ended);
      GEIST_ASSIGN(const Grade grade, train::grade(item.check, text));
      SkillScore& score = score_of(scores_, item.skill);
      score.tokens += static_cast<int64_t>(work->answer.size());
      score.cut += !work->ended;
      count(score, grade);
      go_on_ &= observer_({work->index, text, grade.right, grade.valid});
      work = work_.erase(work);
    }
    return {};
  }

  static void count(SkillScore& score, const Grade& grade) {
    ++score.problems;
    score.right += grade.right;
    score.valid += grade.valid;
  }

  // By the reward, where the model has a head for it; else by the mean log-probability of a token:
  // sums would prefer the shorter answer.
  Status rank(size_t index) {
    const EvalItem& item = suite_.items[index];
    std::optional<double> chosen, rejected;
    if (reward_) {
      GEIST_ASSIGN(chosen, reward_of(item, item.chosen));
      GEIST_ASSIGN(rejected, reward_of(item, item.rejected));
    } else {
      GEIST_ASSIGN(const std::vector<text::TokenId> prompt, prompt_of(item));
      chosen = mean_log_probability(prompt, item.chosen);
      rejected = mean_log_probability(prompt, item.rejected);
    }
    const bool right = chosen && rejected && *chosen > *rejected;
    SkillScore& score = score_of(scores_, item.skill);
    score.cut += !chosen || !rejected;
    count(score, {.right = right, .valid = right});
    go_on_ &= observer_({index, "", right, right});
    return {};
  }

  // Nothing when the context does not hold it.
  Result<std::optional<double>> reward_of(const EvalItem& item, const std::string& answer) {
    Json messages = Json::parse(item.messages);
    messages.push_back({{"role", "assistant"}, {"content", answer}});
    GEIST_ASSIGN(Conversation conversation, messages_to_conversation(messages));
    conversation.tools = item.tools;
    GEIST_TRY(keep_last_turn(&conversation));
    GEIST_ASSIGN(const std::vector<EncodedChat> chats, encoder_.encode(conversation));
    if (static_cast<int32_t>(chats.back().ids.size()) > m_.model.config().context_length)
      return std::optional<double>();
    GEIST_ASSIGN(const float reward, reward_->score(runner_, chats.back().ids));
    return std::optional<double>(reward);
  }

  // Nothing when the context does not hold it.
  std::optional<double> mean_log_probability(const std::vector<text::TokenId>& prompt,
                                             const std::string& answer) {
    std::vector<text::TokenId> ids = prompt;
    const auto tail = m_.tokenizer.encode(answer, {.add_special = false, .parse_special = false});
    ids.insert(ids.end(), tail.begin(), tail.end());
    engine::Session session(m_.model, {});
    if (!session.append(ids).ok()) return {};
    double sum = 0;
    const engine::PassOptions pass{
        .on_row =
            [&](const engine::Session&, int32_t position, std::span<const float> row) {
              const auto next = static_cast<size_t>(position) + 1;
              if (next < ids.size()) sum += engine::log_probability(row, ids[next]);
            },
        .row_from = static_cast<int32_t>(prompt.size()) - 1};
    while (session.pending() > 0) runner_.pass(session, pass);
    return sum / static_cast<double>(std::max<size_t>(tail.size(), 1));
  }

  const EvalModel& m_;
  const Suite& suite_;
  const EvalOptions& o_;
  const EvalObserver& observer_;
  engine::ChatFormat format_;
  ChatEncoder encoder_;
  std::optional<engine::RewardHead> reward_;  // of a reward model
  engine::Runner runner_;
  engine::Scheduler scheduler_;
  Scores scores_;
  std::list<Work> work_;
  bool go_on_ = true;
};

// Adds the loss of the predictions in a window of a document.
Status score_window(const EvalModel& m, engine::Runner& runner, std::span<const text::TokenId> ids,
                    TextScore* score) {
  engine::Session session(m.model, {});
  GEIST_TRY(session.append(ids.first(ids.size() - 1)));
  const engine::PassOptions pass{
      .on_row = [&](const engine::Session&, int32_t position, std::span<const float> row) {
        score->nats -= engine::log_probability(row, ids[static_cast<size_t>(position) + 1]);
      }};
  while (session.pending() > 0) runner.pass(session, pass);
  score->tokens += static_cast<int64_t>(ids.size()) - 1;
  return {};
}

}  // namespace

double TextScore::bits_per_byte() const {
  return bytes > 0 ? nats / kLn2 / static_cast<double>(bytes) : 0;
}

double TextScore::perplexity() const {
  return tokens > 0 ? kernels::det_exp(nats / static_cast<double>(tokens)) : 0;
}

Result<Scores> run_suite(const EvalModel& model, const Suite& suite, const EvalOptions& options,
                         const EvalObserver& observer) {
  GEIST_ASSIGN(engine::ChatFormat format,
               engine::ChatFormat::create(model.metadata, model.tokenizer));
  GEIST_ASSIGN(ChatEncoder encoder,
               ChatEncoder::create(model.metadata, model.tokenizer, kUnixTime));
  return SuiteRun(model, suite, options, observer, std::move(format), std::move(encoder)).run();
}

Result<TextScore> score_text(const EvalModel& m, const std::vector<std::string>& documents,
                             const std::function<bool(int64_t documents_done)>& observer) {
  engine::Runner runner(m.model, m.pool);
  const auto context = static_cast<size_t>(m.model.config().context_length);
  TextScore score;
  for (const std::string& document : documents) {
    const std::vector<text::TokenId> ids = document_ids(m.tokenizer, document);
    for (size_t at = 0; at + 1 < ids.size(); at += context)
      GEIST_TRY(score_window(
          m, runner, std::span(ids).subspan(at, std::min(context + 1, ids.size() - at)), &score));
    score.bytes += document.size();
    if (!observer(++score.documents)) return errorf("interrupted");
  }
  return score;
}

Result<NgramScore> score_ngram(const EvalModel& m, const std::vector<std::string>& training,
                               const std::vector<std::string>& documents, int64_t numbers_max) {
  NgramModel ngram(kNgramOrder, m.model.config().vocab_size);
  for (const std::string& document : training) ngram.add(document_ids(m.tokenizer, document));
  ngram.finish(numbers_max);
  NgramScore out{.score = {}, .order = ngram.order()};
  out.numbers = ngram.numbers();
  out.count_min = ngram.count_min();
  for (const std::string& document : documents) {
    const std::vector<text::TokenId> ids = document_ids(m.tokenizer, document);
    for (size_t i = 1; i < ids.size(); ++i)
      out.score.nats -= kernels::det_log(ngram.probability(std::span(ids).first(i), ids[i]));
    out.score.tokens += std::max<int64_t>(0, static_cast<int64_t>(ids.size()) - 1);
    out.score.bytes += document.size();
    ++out.score.documents;
  }
  return out;
}

}  // namespace geist::train
