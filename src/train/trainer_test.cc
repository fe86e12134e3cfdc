// Whole runs: the same weight hash on any number of threads and instruction set, with any rows at
// once, stopped and resumed or not; and what happens to checkpoints that are damaged.
#include "train/trainer.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/file.h"
#include "train/checkpoint.h"
#include "train/train_test_support.h"

namespace geist::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Trainer : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("geist_trainer_test_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  struct Setup {
    const char* folder = "run";
    int threads = 2;
    int64_t rows_at_once = 2;
    const kernels::Kernels* kernels = nullptr;
    OptimizerKind optimizer = OptimizerKind::kAdamW;
    int64_t stop_after = 1 << 20;
    std::string recipe = "abc";
    int64_t steps = 12;
    int keep = 2;
  };
  struct Outcome {
    Result<TrainResult> result = errorf("not run");
    std::string hash;
    std::vector<double> losses;
    std::vector<std::string> skipped;
    int64_t resumed_at = -1;
    double validation = 0;
  };

  Outcome train(const Setup& setup) {
    const Corpus corpus = counting_corpus(40);
    Packer packer(corpus, 48, 7, true);
    TrainSource source{.row = [&](int64_t row, auto* out) { packer.row(row, out); }};
    source.validation.resize(2);
    packer.row(0, &source.validation[0]);
    packer.row(1, &source.validation[1]);
    source.validation_bytes = 96;
    ThreadPool pool(setup.threads);
    TrainedModel trained = small_model(setup.kernels);
    OptimizerOptions options{.kind = setup.optimizer, .learning_rate = 0.01, .average = 0.9};
    options.schedule = {.steps = setup.steps, .warmup_steps = 2};
    Optimizer optimizer = must(Optimizer::make(trained, options, pool));
    Outcome out;
    const auto observer = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) out.losses.push_back(event.loss);
      if (event.kind == TrainEvent::Kind::kSkippedCheckpoint) out.skipped.push_back(event.text);
      if (event.kind == TrainEvent::Kind::kResumed) out.resumed_at = event.step;
      if (event.kind == TrainEvent::Kind::kValidation) out.validation = event.loss;
      return event.step < setup.stop_after;
    };
    out.result = run_training(trained, optimizer, source,
                              {.optimizer = options,
                               .batch_rows = 4,
                               .rows_at_once = setup.rows_at_once,
                               .validate_every = 6,
                               .checkpoint_every = 5,
                               .keep_checkpoints = setup.keep,
                               .folder = (folder_ / setup.folder).string(),
                               .recipe_hash = setup.recipe},
                              pool, observer);
    out.hash = trained.hash();
    return out;
  }

  fs::path folder_;
};

TEST_F(Trainer, LearnsToCount) {
  const Outcome out = train({.steps = 60});
  ASSERT_TRUE(out.result.ok()) << out.result.error().message;
  EXPECT_GT(out.losses.front(), 3.5);
  EXPECT_LT(out.losses.back(), 1.0);
  EXPECT_LT(out.validation, 1.0);
  EXPECT_NEAR(out.result->bits_per_byte, out.validation / 0.6931471805599453, 1e-9);
}

TEST_F(Trainer, GivesTheSameWeightsHoweverItRuns) {
  for (const OptimizerKind kind : {OptimizerKind::kAdamW, OptimizerKind::kMuon}) {
    fs::remove_all(folder_);
    const auto hash = [&](Setup setup) {
      setup.optimizer = kind;
      setup.steps = 1;
      return train(setup).hash;
    };
    const std::string whole = hash({});
    EXPECT_EQ(hash({.folder = "one", .threads = 1, .rows_at_once = 1}), whole);
    EXPECT_EQ(hash({.folder = "three", .threads = 3, .rows_at_once = 4}), whole);
    for (const auto isa : {kernels::Isa::kScalar, kernels::Isa::kAvx2}) {
      const kernels::Kernels* kernels = kernels::kernels_for(isa);
      const bool slow = isa == kernels::Isa::kScalar && kind == OptimizerKind::kMuon;
      if (kernels == nullptr || slow) continue;
      const std::string name(kernels->name);
      EXPECT_EQ(hash({.folder = name.c_str(), .kernels = kernels}), whole) << name;
    }
  }
}

TEST_F(Trainer, ResumesToTheSameBits) {
  const Outcome whole = train({.folder = "whole"});
  const Outcome first = train({.stop_after = 7});
  ASSERT_TRUE(first.result.ok());
  EXPECT_FALSE(first.result->finished);
  EXPECT_NE(first.hash, whole.hash);
  const Outcome rest = train({.threads = 3});
  EXPECT_EQ(rest.resumed_at, 7);
  EXPECT_EQ(rest.hash, whole.hash);
  EXPECT_EQ(rest.losses.back(), whole.losses.back());
  const Outcome again = train({});  // nothing left to do
  EXPECT_TRUE(again.losses.empty());
  EXPECT_EQ(again.hash, whole.hash);
  // The log of a run that was stopped is the log of one that was not, but for speed.
  const auto steps = [&](const char* name) {
    std::ifstream in(folder_ / name / "log.jsonl");
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);)
      if (line.find("\"loss\"") != std::string::npos)
        lines.push_back(line.substr(0, line.find("\"tokens_per_s\"")));
    return lines;
  };
  EXPECT_EQ(steps("run"), steps("whole"));
  EXPECT_EQ(steps("run").size(), 12u);
}

TEST_F(Trainer, KeepsTheNewestCheckpointsAndPassesOverADamagedOne) {
  const Outcome whole = train({});
  const auto list = list_checkpoints((folder_ / "run/checkpoints").string());
  ASSERT_EQ(list.size(), 2u);
  EXPECT_THAT(list[0], HasSubstr("step-00000012.gguf"));
  EXPECT_THAT(list[1], HasSubstr("step-00000010.gguf"));
  {
    std::fstream file(list[0], std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1000, std::ios::end);
    file.put('x');
  }
  const Outcome resumed = train({});
  ASSERT_EQ(resumed.skipped.size(), 1u);
  EXPECT_THAT(resumed.skipped[0], HasSubstr("checksum"));
  EXPECT_EQ(resumed.resumed_at, 10);
  EXPECT_EQ(resumed.hash, whole.hash);
}

TEST_F(Trainer, DoesNotCountADamagedCheckpointAmongThoseItKeeps) {
  const std::string checkpoints = (folder_ / "run/checkpoints").string();
  const Outcome whole = train({});
  fs::resize_file(checkpoint_path(checkpoints, 12), 5000);
  ASSERT_TRUE(train({.stop_after = 11, .keep = 1}).result.ok());
  const Outcome rest = train({});
  EXPECT_EQ(rest.resumed_at, 11);
  EXPECT_EQ(rest.hash, whole.hash);
}

TEST_F(Trainer, WillNotResumeUnderAnotherRecipe) {
  ASSERT_TRUE(train({.steps = 3}).result.ok());
  const Outcome other = train({.recipe = "def", .steps = 3});
  ASSERT_FALSE(other.result.ok());
  EXPECT_THAT(other.result.error().message, HasSubstr("another recipe"));
}

TEST_F(Trainer, ACheckpointIsAModelThatLoads) {
  const Outcome out = train({});
  const auto list = list_checkpoints((folder_ / "run/checkpoints").string());
  const TrainedModel loaded = must(TrainedModel::make(must(gguf::File::open(list[0]))));
  EXPECT_EQ(loaded.model().config().vocab_size, 40);
}

TEST_F(Trainer, SaysSoWhenTheFolderCannotBeWritten) {
  fs::create_directories(folder_);
  write_file((folder_ / "run").string(), "a file").ok();
  const Outcome out = train({});
  ASSERT_FALSE(out.result.ok());
  EXPECT_THAT(out.result.error().message, HasSubstr("cannot be made"));
}

}  // namespace
}  // namespace geist::train
