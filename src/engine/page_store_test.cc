#include "engine/page_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "engine/engine_test_support.h"
#include "engine/weights_digest.h"

namespace geist::engine {
namespace {

namespace fs = std::filesystem;

// Page number i of a made-up tree: its bytes are a function of i.
struct MadeUpPage {
  std::vector<std::byte> full, window;
  PageRecord record;

  explicit MadeUpPage(uint64_t i) {
    RandomStream random(i, "page");
    full.resize(1 + random.next_below(20000));
    window.resize(random.next_below(2) * random.next_below(5000));
    for (std::byte& b : full) b = static_cast<std::byte>(random.next_below(256));
    for (std::byte& b : window) b = static_cast<std::byte>(random.next_below(256));
    record.parent = {4, 5};
    record.first_pos = 32;
    record.label = 3;
    record.tokens.assign(1 + i % 32, static_cast<text::TokenId>(i));
    record.name = page_name(record.parent, 32, 3, record.tokens);
    record.full = full;
    record.window = window;
  }
};

// Pages 0..59, made once.
const MadeUpPage& made_up(uint64_t i) {
  static const auto pages = [] {
    std::vector<std::unique_ptr<const MadeUpPage>> list;
    for (uint64_t n = 0; n < 60; ++n) list.push_back(std::make_unique<const MadeUpPage>(n));
    return list;
  }();
  return *pages.at(i);
}

bool same(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

bool same(const PageRecord& a, const PageRecord& b) {
  return a.name == b.name && a.parent == b.parent && a.first_pos == b.first_pos &&
         a.label == b.label && a.tokens == b.tokens && same(a.full, b.full) &&
         same(a.window, b.window);
}

uint64_t bytes_on_disk(const std::string& folder) {
  uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".page") bytes += entry.file_size();
  return bytes;
}

TEST(PageStore, PagesSurviveReopening) {
  const Folder folder;
  for (int round = 0; round < 2; ++round) {
    const auto store = open_store(folder);
    EXPECT_TRUE(store->writable());
    for (uint64_t i = 0; i < 40; ++i) {
      const MadeUpPage& page = made_up(i);
      EXPECT_EQ(store->contains(page.record.name), round == 1);
      EXPECT_TRUE(store->write(page.record));
      const auto read = store->read(page.record.name);
      ASSERT_TRUE(read.has_value());
      EXPECT_TRUE(same(read->record, page.record));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(read->record.full.data()) % 64, 0u);
      if (!read->record.window.empty()) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(read->record.window.data()) % 64, 0u);
      }
    }
    EXPECT_EQ(store->stats().pages_written, round == 0 ? 40u : 0u);
    EXPECT_EQ(store->stats().bytes, bytes_on_disk(folder.path()));
  }
}

TEST(PageStore, TheOldestGoWhenTheFolderIsFull) {
  const Folder folder;
  {
    const auto store = open_store(folder, 200'000);
    for (uint64_t i = 0; i < 60; ++i) {
      EXPECT_TRUE(store->write(made_up(i).record));
      store->read(made_up(0).record.name);  // always wanted
    }
    EXPECT_GT(store->stats().pages_removed, 20u);
    EXPECT_TRUE(store->contains(made_up(0).record.name));
    EXPECT_TRUE(store->contains(made_up(59).record.name));
    EXPECT_FALSE(store->contains(made_up(1).record.name));
    EXPECT_LE(bytes_on_disk(folder.path()), 200'000u);
  }
  const auto smaller = open_store(folder, 50'000);
  EXPECT_LE(bytes_on_disk(folder.path()), 50'000u);
  EXPECT_TRUE(smaller->contains(made_up(59).record.name));
}

TEST(PageStore, APageInUseKeepsItsBytesWhateverBecomesOfItsFile) {
  const Folder folder;
  const auto store = open_store(folder);
  const MadeUpPage& page = made_up(7);
  ASSERT_TRUE(store->write(page.record));
  const auto read = store->read(page.record.name);
  ASSERT_TRUE(read.has_value());
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (entry.path().extension() != ".page") continue;
    std::fstream(entry.path(), std::ios::in | std::ios::out | std::ios::binary)
        << std::string(entry.file_size(), 'x');
    EXPECT_TRUE(same(read->record, page.record));
    fs::resize_file(entry.path(), 0);
    EXPECT_TRUE(same(read->record, page.record));
  }
  store->remove(page.record.name);
  EXPECT_FALSE(store->read(page.record.name).has_value());
  EXPECT_EQ(bytes_on_disk(folder.path()), 0u);
  EXPECT_TRUE(same(read->record, page.record));
}

TEST(PageStore, EveryDamageIsFoundAndThePageIsGone) {
  RandomStream random(1, "damage");
  const Folder folder;
  const auto store = open_store(folder);
  for (uint64_t i = 0; i < 200; ++i) {
    const MadeUpPage& page = made_up(i % 3);
    ASSERT_TRUE(store->write(page.record));
    const auto file = fs::recursive_directory_iterator(folder.path());
    std::string path;
    for (const auto& entry : file)
      if (entry.path().extension() == ".page") path = entry.path().string();
    const auto size = fs::file_size(path);
    if (i % 4 == 0) {
      fs::resize_file(path, random.next_below(size));
    } else if (i % 4 == 1) {
      fs::resize_file(path, size + 1 + random.next_below(100));
    } else {
      std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
      const auto at = static_cast<std::streamoff>(random.next_below(size));
      out.seekg(at);
      const char byte = static_cast<char>(out.get() ^ static_cast<int>(1 << random.next_below(8)));
      out.seekp(at);
      out.put(byte);
    }
    EXPECT_FALSE(store->read(page.record.name).has_value()) << i;
    EXPECT_FALSE(store->contains(page.record.name));
    EXPECT_EQ(bytes_on_disk(folder.path()), 0u);
  }
  EXPECT_EQ(store->stats().pages_damaged, 200u);
}

TEST(PageStore, APageUnderAnotherNameIsRefused) {
  const Folder folder;
  const auto store = open_store(folder);
  const MadeUpPage &a = made_up(1), &b = made_up(2);
  ASSERT_TRUE(store->write(a.record) && store->write(b.record));
  const std::string hex_a = to_hex(a.record.name), hex_b = to_hex(b.record.name);
  const auto path = [&](const std::string& hex) {
    return folder.path() + "/" + hex.substr(0, 2) + "/" + hex + ".page";
  };
  fs::copy_file(path(hex_a), path(hex_b), fs::copy_options::overwrite_existing);
  EXPECT_FALSE(store->read(b.record.name).has_value());
  EXPECT_TRUE(store->read(a.record.name).has_value());
}

TEST(PageStore, ASecondProcessReadsOnly) {
  const Folder folder;
  auto writer = open_store(folder);
  ASSERT_TRUE(writer->write(made_up(1).record));
  const auto reader = open_store(folder);
  EXPECT_FALSE(reader->writable());
  EXPECT_NE(reader->warning().find("another process"), std::string::npos);
  EXPECT_TRUE(reader->read(made_up(1).record.name).has_value());
  EXPECT_FALSE(reader->write(made_up(2).record));
  // What the writer removes is gone for the reader too, without ado.
  writer->remove(made_up(1).record.name);
  EXPECT_FALSE(reader->read(made_up(1).record.name).has_value());
  EXPECT_EQ(reader->stats().pages_damaged, 0u);
  writer.reset();
  EXPECT_TRUE(open_store(folder)->writable());
}

TEST(PageStore, AFullDiskEndsWritingButNotReading) {
  const Folder folder;
  const auto store = open_store(folder);
  ASSERT_TRUE(store->write(made_up(0).record));
  // A limit on the size of files, which fails writes as a full disk does.
  struct rlimit old {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = old;
  small.rlim_cur = 100;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const bool written = store->write(made_up(1).record);
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(written);
  EXPECT_FALSE(store->writable());
  EXPECT_NE(store->warning().find("cannot write a page"), std::string::npos);
  EXPECT_TRUE(store->read(made_up(0).record.name).has_value());
  EXPECT_FALSE(store->read(made_up(1).record.name).has_value());
  EXPECT_EQ(store->stats().bytes, bytes_on_disk(folder.path()));
}

TEST(PageStore, OpeningSaysWhyItCannot) {
  EXPECT_FALSE(PageStore::open("/proc/geist/pages").ok());
  const Folder folder;
  fs::create_directories(folder.path());
  std::ofstream(folder.path() + "/file") << "x";
  const auto store = PageStore::open(folder.path() + "/file");
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.error().message.find("cannot make a folder"), std::string::npos);
}

// Writes pages until it is killed;
// a byte goes to `begun` when some are there.
[[noreturn]] void write_for_ever(const std::string& folder, uint64_t first, int begun) {
  auto store = PageStore::open(folder, {.bytes_max = 300'000});
  if (!store.ok()) ::_exit(3);
  for (uint64_t i = first;; ++i) {
    if (i == first + 3 && ::write(begun, "", 1) != 1) ::_exit(5);
    if (!(*store)->write(made_up(i % 60).record)) ::_exit(4);
    if (i % 7 == 0) (*store)->remove(made_up((i / 7) % 60).record.name);
  }
}

TEST(PageStore, KilledAtAnyMomentItServesNoDamagedPage) {
  RandomStream random(2, "kill");
  const Folder folder;
  uint64_t served = made_up(0).record.label - 3;  // made before the children are
  for (uint64_t round = 0; round < 200; ++round) {
    int begun[2];
    ASSERT_EQ(::pipe(begun), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_for_ever(folder.path(), round * 13, begun[1]);
    ::close(begun[1]);
    char byte = 0;
    if (round % 2 == 0) {  // every other child has begun to write, however busy the machine is
      ASSERT_EQ(::read(begun[0], &byte, 1), 1);
    }
    ::usleep(static_cast<useconds_t>(random.next_below(6000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    ::close(begun[0]);
    const auto store = open_store(folder, 300'000);
    ASSERT_TRUE(store->writable());
    for (uint64_t i = 0; i < 60; ++i) {
      const MadeUpPage& page = made_up(i);
      const auto read = store->read(page.record.name);
      if (!read) continue;
      ++served;
      ASSERT_TRUE(same(read->record, page.record));
    }
    ASSERT_EQ(store->stats().pages_damaged, 0u);
    for (const auto& entry : fs::recursive_directory_iterator(folder.path()))
      ASSERT_NE(entry.path().extension(), ".tmp");
  }
  EXPECT_GE(served, 100u);
}

// Few pages and less room than they need, so that threads often write the same page while another
// one makes room by removing it.
TEST(PageStore, ThreadsReadAndWriteTogether) {
  const Folder folder;
  const auto store = open_store(folder, 40'000);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      RandomStream random(t, "threads");
      for (int i = 0; i < 1000; ++i) {
        const MadeUpPage& page = made_up(random.next_below(8));
        if (random.next_below(2) == 0) {
          store->write(page.record);
        } else if (const auto read = store->read(page.record.name)) {
          EXPECT_TRUE(same(read->record, page.record));
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(store->stats().pages_damaged, 0u);
  EXPECT_EQ(store->stats().bytes, bytes_on_disk(folder.path()));
}

TEST(PageName, DependsOnEverything) {
  const std::vector<text::TokenId> tokens = {1, 2, 3}, other = {1, 2, 4};
  const PageName root = root_name({}), name = page_name(root, 0, 0, tokens);
  EXPECT_EQ(name, page_name(root, 0, 0, tokens));
  EXPECT_NE(name, page_name(root, 1, 0, tokens));
  EXPECT_NE(name, page_name(root, 0, 1, tokens));
  EXPECT_NE(name, page_name(root, 0, 0, other));
  EXPECT_NE(name, page_name(root, 0, 0, std::span(tokens).first(2)));
  EXPECT_NE(name, page_name(name, 0, 0, tokens));
  EXPECT_NE(root, root_name({.weights = {1}}));
  EXPECT_NE(root, root_name({.adapters = {1}}));
  EXPECT_NE(root_name({.weights = {1}}), root_name({.adapters = {1}}));
  EXPECT_NE(root, root_name({.kv_type = 1}));
  EXPECT_NE(root, root_name({.domain = "a"}));
  const uint64_t sees[] = {1, 2}, sees_more[] = {1, 3};
  EXPECT_NE(root, root_name({.visibility = sees}));
  EXPECT_NE(root_name({.visibility = sees}), root_name({.visibility = sees_more}));
}

TEST(WeightsDigest, DependsOnEveryWeightAndIsRemembered) {
  const Folder folder;
  fs::create_directories(folder.path());
  const std::string path = folder.path() + "/tiny.gguf";
  ASSERT_TRUE(testing::write_tiny_model(path).ok());
  ThreadPool pool(2);
  const auto digest_of = [&] {
    const auto file = gguf::File::open(path);
    EXPECT_TRUE(file.ok());
    const Sha256Digest digest = weights_digest(*file, pool);
    EXPECT_EQ(cached_weights_digest(*file, folder.path(), pool), digest);
    EXPECT_EQ(cached_weights_digest(*file, folder.path(), pool), digest);
    EXPECT_EQ(cached_weights_digest(*file, "/proc/nowhere", pool), digest);
    return digest;
  };
  const Sha256Digest digest = digest_of();
  EXPECT_EQ(digest, digest_of());
  const auto size = fs::file_size(path);
  std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(static_cast<std::streamoff>(size) - 3);
  out.put('\x11');
  out.close();
  EXPECT_NE(digest, digest_of());
}

// A file that takes the place of the one that is mapped has no part in its digest, nor this in its.
TEST(WeightsDigest, OfAFileThatWasReplacedIsThatOfWhatIsMapped) {
  const Folder folder;
  fs::create_directories(folder.path());
  const std::string path = folder.path() + "/tiny.gguf", other = path + ".new";
  ASSERT_TRUE(testing::write_tiny_model(path).ok());
  ThreadPool pool(1);
  const auto file = gguf::File::open(path);
  ASSERT_TRUE(file.ok());
  fs::copy_file(path, other);
  std::fstream out(other, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(-3, std::ios::end);
  out.put('\x11');
  out.close();
  fs::rename(other, path);
  const auto replacement = gguf::File::open(path);
  ASSERT_TRUE(replacement.ok());
  for (const gguf::File* const of : {&*file, &*replacement, &*file})
    EXPECT_EQ(cached_weights_digest(*of, folder.path(), pool), weights_digest(*of, pool));
  EXPECT_NE(weights_digest(*file, pool), weights_digest(*replacement, pool));
}

}  // namespace
}  // namespace geist::engine
