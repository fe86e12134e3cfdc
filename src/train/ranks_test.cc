// Several ranks in one process, a thread each: the trees of sums, and whole runs that must have the
// bits of a run alone. MPI itself: tests/mpi_test.py.
#include "train/ranks.h"

#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "train/step_gradient.h"
#include "train/train_test_support.h"
#include "train/trainer.h"

namespace geist::train {
namespace {

// Messages between threads.
class Post {
 public:
  void send(int from, int to, const void* data, size_t bytes) {
    const auto* first = static_cast<const std::byte*>(data);
    const std::lock_guard lock(mutex_);
    boxes_[{from, to}].emplace_back(first, first + bytes);
    arrived_.notify_all();
  }
  void receive(int from, int to, void* data, size_t bytes) {
    std::unique_lock lock(mutex_);
    auto& box = boxes_[{from, to}];
    arrived_.wait(lock, [&] { return !box.empty(); });
    ASSERT_EQ(box.front().size(), bytes);
    if (bytes > 0) std::memcpy(data, box.front().data(), bytes);
    box.erase(box.begin());
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<std::pair<int, int>, std::vector<std::vector<std::byte>>> boxes_;
};

struct Member {
  Post* post;
  int rank;
};

RankTransport transport_of(Member& member, int count) {
  return {member.rank,
          count,
          &member,
          [](void* context, int peer, const void* send, size_t send_bytes, void* receive,
             size_t receive_bytes) {
            const auto& me = *static_cast<Member*>(context);
            me.post->send(me.rank, peer, send, send_bytes);
            me.post->receive(peer, me.rank, receive, receive_bytes);
          },
          [](void*) {},
          [](void*, int) {}};
}

void run_ranks(int count, const std::function<void(Ranks&)>& body) {
  Post post;
  std::vector<Member> members;
  for (int i = 0; i < count; ++i) members.push_back({&post, i});
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      Ranks ranks(transport_of(members[static_cast<size_t>(i)], count), 4096);
      body(ranks);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(TreeSums, AreThoseOfTheHalves) {
  EXPECT_EQ(tree_sums(1), (std::vector<int>{0}));
  EXPECT_EQ(tree_sums(4), (std::vector<int>{0, 1, 0, 2}));
  EXPECT_EQ(tree_sums(6), (std::vector<int>{0, 1, 1, 0, 1, 2}));
  EXPECT_EQ(tree_sums(5), (std::vector<int>{0, 1, 0, 2, 1}));
}

std::vector<float> leaf_values(int64_t leaf, int64_t size) {
  RandomStream random(static_cast<uint64_t>(leaf), "leaf");
  std::vector<float> values;
  for (int64_t i = 0; i < size; ++i)
    values.push_back(static_cast<float>(static_cast<int64_t>(random.next_u64() >> 20)) * 1e-6f);
  return values;
}

std::vector<float> tree(int64_t first, int64_t count, int64_t size) {
  if (count == 1) return leaf_values(first, size);
  const int64_t left = count % 2 == 0 ? count / 2 : count - 1;
  std::vector<float> sum = tree(first, left, size);
  const std::vector<float> right = tree(first + left, count - left, size);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += right[i];
  return sum;
}

// What one rank of `leaves` leaves holds at the end; gathered, so that all have all.
std::vector<float> summed(Ranks* ranks, int64_t leaves, int64_t size) {
  const char* error = nullptr;
  const kernels::Kernels& kernels = *kernels::default_kernels(&error);
  ThreadPool pool(1);
  StepGradient step(kernels, pool, ranks, leaves);
  FloatBlock block = must(FloatBlock::make(size));
  for (int64_t repeat = 0; repeat < 2; ++repeat) {  // a step leaves nothing behind
    for (int64_t i = 0; i < step.leaves(); ++i) {
      const std::vector<float> values = leaf_values(step.first_leaf() + i, size);
      const bool last = i + 1 == step.leaves();
      if (last) step.begin_last(block);
      const size_t half = values.size() / 2;
      std::copy(values.begin() + static_cast<int64_t>(half), values.end(), block.data() + half);
      if (last) step.final_from(static_cast<int64_t>(half));
      std::copy(values.begin(), values.begin() + static_cast<int64_t>(half), block.data());
      if (last) {
        step.end_last();
      } else {
        EXPECT_TRUE(step.add(block).ok());
      }
    }
  }
  if (ranks != nullptr) ranks->gather(block.span());
  return {block.span().begin(), block.span().end()};
}

TEST(StepGradient, IsOneTreeOnAnyNumberOfRanks) {
  for (const int64_t size : {16, 4096 * 3 + 32, 4096 * 37 + 16}) {
    for (const int64_t leaves : {1, 2, 4, 6, 8, 12}) {
      const std::vector<float> expected = tree(0, leaves, size);
      EXPECT_EQ(summed(nullptr, leaves, size), expected);
      for (const int count : {1, 2, 4, 8}) {
        if (leaves % count != 0) continue;
        run_ranks(count, [&](Ranks& ranks) {
          EXPECT_EQ(summed(&ranks, leaves, size), expected) << count << " ranks";
        });
      }
    }
  }
}

TEST(Ranks, OwnPartsAreAPartitionAndTheFirstCollectsThem) {
  const int64_t size = 4096 * 21 + 80;
  run_ranks(4, [&](Ranks& ranks) {
    std::vector<float> values(static_cast<size_t>(size), -1.0f);
    ranks.for_own(size, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(begin % 4096, 0);
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i);
    });
    ranks.collect(values);
    if (!ranks.is_first()) return;
    for (int64_t i = 0; i < size; ++i)
      ASSERT_EQ(values[static_cast<size_t>(i)], static_cast<float>(i));
  });
}

TEST(Ranks, SumsOfDoublesAndBadCounts) {
  run_ranks(4, [&](Ranks& ranks) {
    double values[] = {1.0 + ranks.rank(), 0.5};
    ranks.add(values);
    EXPECT_EQ(values[0], 10.0);
    EXPECT_EQ(values[1], 2.0);
  });
  Member member{nullptr, 0};
  EXPECT_TRUE(Ranks(transport_of(member, 4)).check().ok());
  EXPECT_FALSE(Ranks(transport_of(member, 3)).check().ok());
}

class SharedRun : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        std::filesystem::temp_directory_path() / ("geist_ranks_test_" + std::to_string(::getpid()));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  struct Outcome {
    std::string hash;
    std::vector<double> losses;
    double validation = 0;
    bool operator==(const Outcome&) const = default;
  };
  Outcome train(Ranks* ranks, const std::string& architecture, const std::string& name,
                int64_t stop_after, int64_t leaf_rows = 2) {
    const Corpus corpus = counting_corpus(40);
    Packer packer(corpus, 48, 7, true);
    TrainSource source{.row = [&](int64_t row, auto* out) { packer.row(row, out); }};
    source.validation.resize(3);
    for (int64_t i = 0; i < 3; ++i) packer.row(i, &source.validation[static_cast<size_t>(i)]);
    ThreadPool pool(1);
    TrainedModel trained = small_model(nullptr, architecture);
    OptimizerOptions options{.learning_rate = 0.01};
    options.schedule = {.steps = 6, .warmup_steps = 2};
    Optimizer optimizer = must(Optimizer::make(trained, options, pool));
    Outcome out;
    const auto observer = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) out.losses.push_back(event.loss);
      if (event.kind == TrainEvent::Kind::kValidation) out.validation = event.loss;
      return event.step < stop_after;
    };
    const auto result = run_training(trained, optimizer, source,
                                     {.optimizer = options,
                                      .batch_rows = 8,
                                      .rows_at_once = 1,
                                      .leaf_rows = leaf_rows,
                                      .ranks = ranks,
                                      .checkpoint_every = 2,
                                      .folder = (folder_ / name).string(),
                                      .recipe_hash = "r"},
                                     pool, observer);
    EXPECT_TRUE(result.ok()) << result.error().message;
    out.hash = trained.hash();
    return out;
  }
  std::filesystem::path folder_;
};

TEST_F(SharedRun, HasTheBitsOfOneProcess) {
  for (const char* architecture : {"llama", "gpt2"}) {
    const std::string name = architecture;
    const Outcome alone = train(nullptr, architecture, name, 100);
    EXPECT_NE(alone.hash, train(nullptr, architecture, name + "chain", 100, 0).hash);
    for (const int count : {2, 4}) {
      const std::string folder = name + std::to_string(count);
      run_ranks(count, [&](Ranks& ranks) {
        EXPECT_EQ(train(&ranks, architecture, folder, 100), alone) << count;
      });
    }
  }
}

TEST_F(SharedRun, GoesOnUnderAnotherNumberOfRanks) {
  const Outcome alone = train(nullptr, "llama", "alone", 100);
  run_ranks(4, [&](Ranks& ranks) { train(&ranks, "llama", "moved", ranks.rank() == 2 ? 3 : 100); });
  EXPECT_EQ(train(nullptr, "llama", "moved", 4).losses.size(), 1u);  // step 4; 3 were done
  run_ranks(
      2, [&](Ranks& ranks) { EXPECT_EQ(train(&ranks, "llama", "moved", 100).hash, alone.hash); });
}

}  // namespace
}  // namespace geist::train
