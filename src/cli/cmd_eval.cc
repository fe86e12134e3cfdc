// geist eval: problems with a rule that grades them, pairs to rank, text to predict.
#include <CLI/CLI.hpp>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "train/documents.h"
#include "train/evaluation.h"

namespace geist::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOptions model;
  std::vector<std::string> suites;
  int64_t count = 500;
  train::EvalOptions eval;
  std::string text, answers;
  std::vector<std::string> ngram;
  train::DocumentOptions documents;
  bool json = false;
};

struct SuiteScores {
  std::string name;
  train::Scores scores;
};

struct Report {
  std::vector<SuiteScores> suites;
  std::optional<train::TextScore> text;
  std::optional<train::NgramScore> ngram;
  int64_t parameters = 0;
};

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

Json json_of(const train::SkillScore& s) {
  return {{"problems", s.problems},
          {"right", share(s.right, s.problems)},
          {"valid", share(s.valid, s.problems)},
          {"tokens", share(s.tokens, s.problems)},
          {"cut", s.cut}};
}

Json json_of(const train::TextScore& s) {
  return {{"documents", s.documents},
          {"bytes", s.bytes},
          {"tokens", s.tokens},
          {"bits_per_byte", s.bits_per_byte()},
          {"perplexity", s.perplexity()}};
}

std::string json_text(const Options& options, const Report& report) {
  Json json = {{"model", options.model.model}, {"parameters", report.parameters}};
  json["suites"] = Json::object();
  for (const SuiteScores& suite : report.suites) {
    Json skills = Json::object();
    for (const auto& [skill, score] : suite.scores) skills[skill] = json_of(score);
    json["suites"][suite.name] = skills;
  }
  if (report.text) json["text"] = json_of(*report.text);
  if (report.ngram) {
    json["ngram"] = json_of(report.ngram->score);
    json["ngram"]["order"] = report.ngram->order;
    json["ngram"]["numbers"] = report.ngram->numbers;
    json["ngram"]["count_min"] = report.ngram->count_min;
    json["text"]["bits_per_byte_over_ngram"] =
        report.text->bits_per_byte() - report.ngram->score.bits_per_byte();
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string printed(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string printed(const char* format, ...) {
  char text[300];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

std::string text_line(const std::string& who, const train::TextScore& s) {
  return printed("%-36s %.4f bits a byte, perplexity %.3f\n", who.c_str(), s.bits_per_byte(),
                 s.perplexity());
}

std::string table(const Report& report) {
  std::string text;
  for (const SuiteScores& suite : report.suites) {
    text += printed("%-24s %8s %7s %7s %7s %5s\n", printable(suite.name).c_str(), "problems",
                    "right", "valid", "tokens", "cut");
    for (const auto& [skill, s] : suite.scores)
      text += printed("  %-22s %8lld %6.1f%% %6.1f%% %7.1f %5lld\n", printable(skill).c_str(),
                      static_cast<long long>(s.problems), 100 * share(s.right, s.problems),
                      100 * share(s.valid, s.problems), share(s.tokens, s.problems),
                      static_cast<long long>(s.cut));
  }
  const std::string numbers = human_count(static_cast<double>(report.parameters));
  if (report.text) text += text_line("model, " + numbers + " parameters", *report.text);
  if (report.ngram)
    text += text_line(printed("%d-gram, %s numbers", report.ngram->order,
                              human_count(static_cast<double>(report.ngram->numbers)).c_str()),
                      report.ngram->score);
  return text;
}

Result<std::vector<std::string>> read_all(const std::vector<std::string>& files,
                                          const train::DocumentOptions& options) {
  std::vector<std::string> documents;
  for (const std::string& file : files)
    GEIST_TRY(
        train::read_documents(file, options, [&](std::string_view document, uint64_t) -> Status {
          documents.emplace_back(document);
          return {};
        }));
  return documents;
}

Status run_suites(const Options& options, const train::EvalModel& model, Report* report) {
  std::optional<AtomicFile> out;
  if (!options.answers.empty()) {
    GEIST_ASSIGN(AtomicFile file, AtomicFile::create(options.answers));
    out.emplace(std::move(file));
  }
  for (const std::string& name : options.suites) {
    GEIST_ASSIGN(const train::Suite suite, train::read_suite(name, options.count));
    Progress progress("answering " + printable(name), suite.items.size(), Progress::Unit::kItems);
    uint64_t done = 0;
    std::vector<train::EvalAnswer> answers(suite.items.size());
    GEIST_ASSIGN(train::Scores scores,
                 train::run_suite(model, suite, options.eval, [&](const train::EvalAnswer& a) {
                   answers[a.index] = a;
                   progress.update(++done);
                   return !interrupted();
                 }));
    for (size_t i = 0; out && i < answers.size(); ++i) {
      const train::EvalItem& item = suite.items[i];
      if (item.is_pair()) continue;
      const Json line = {{"suite", name},
                         {"skill", item.skill},
                         {"messages", Json::parse(item.messages)},
                         {"check", Json::parse(item.check)},
                         {"answer", answers[i].text},
                         {"right", answers[i].right}};
      GEIST_TRY(out->write(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"));
    }
    report->suites.push_back({name, std::move(scores)});
  }
  return out ? out->commit() : Status();
}

Status run_text(const Options& options, const train::EvalModel& model, Report* report) {
  if (options.text.empty()) return {};
  GEIST_ASSIGN(const std::vector<std::string> documents,
               read_all({options.text}, options.documents));
  Progress progress("reading", documents.size(), Progress::Unit::kItems);
  GEIST_ASSIGN(report->text, train::score_text(model, documents, [&](int64_t done) {
                 progress.update(static_cast<uint64_t>(done));
                 return !interrupted();
               }));
  if (options.ngram.empty()) return {};
  GEIST_ASSIGN(const std::vector<std::string> training, read_all(options.ngram, options.documents));
  GEIST_ASSIGN(report->ngram, train::score_ngram(model, training, documents, report->parameters));
  return {};
}

Status evaluate(const Options& options) {
  GEIST_ASSIGN(SpeakingModel loaded, load_speaking_model(options.model));
  const CatchInterrupt catching;  // until here Ctrl-C ends the program at once
  std::vector<std::string> read = loaded.files();
  read.insert(read.end(), options.suites.begin(), options.suites.end());
  GEIST_TRY(refuse_overwriting(options.answers, read));
  if (!loaded.model->config().has_logits)
    return errorf("%s: an embedding model gives no answers", options.model.model.c_str());
  const train::EvalModel model{*loaded.model, *loaded.tokenizer, loaded.model->file().metadata(),
                               *loaded.pool};
  Report report;
  for (const auto& tensor : loaded.model->file().tensors())
    if (!tensor.is_of_trainer()) report.parameters += tensor.elements();
  GEIST_TRY(run_suites(options, model, &report));
  GEIST_TRY(run_text(options, model, &report));
  return write_output(options.json ? json_text(options, report) : table(report));
}

}  // namespace

Command eval_command() {
  return {
      "eval", "Measure what a model can do: problems, pairs, text",
      "geist eval model.gguf --suite world\n"
      "geist eval model.gguf --suite data/eval --suite data/pairs.held-out.jsonl --json\n"
      "geist eval model.gguf --text held-out.txt --ngram train.txt",
      [](CLI::App& app) -> std::function<int()> {
        auto o = std::make_shared<Options>();
        add_model_options(app, o->model);
        app.add_option("-s,--suite", o->suites,
                       "problems or pairs in JSON Lines, a folder of them, or: world, "
                       "world-new-wording, world-pairs");
        app.add_option("--count", o->count, "problems of each skill that are drawn from the world")
            ->check(CLI::Range(1, 1 << 20))
            ->capture_default_str();
        app.add_option("-n,--tokens", o->eval.tokens_max, "of an answer at most")
            ->check(CLI::Range(1, 1 << 20))
            ->capture_default_str();
        app.add_option("--batch", o->eval.at_once,
                       "answers side by side; figures do not depend on it")
            ->check(CLI::Range(1, 4096))
            ->capture_default_str();
        app.add_option("--answers", o->answers, "writes every answer, as JSON Lines");
        auto* text = app.add_option("--text", o->text, "held-out text, to predict");
        app.add_option("--ngram", o->ngram,
                       "training text: an n-gram model with as many numbers predicts --text too")
            ->needs(text);
        app.add_option("--field", o->documents.field, "of JSON Lines")->capture_default_str();
        app.add_option("--separator", o->documents.separator, "a line between documents")
            ->capture_default_str();
        app.add_flag("--json", o->json, "one JSON object");
        return [o] {
          if (o->suites.empty() && o->text.empty())
            return usage("give a --suite or a --text (see geist eval --help)");
          const Status status = evaluate(*o);
          return status.ok() ? kDone : fail(status.error());
        };
      }};
}

}  // namespace geist::cli
