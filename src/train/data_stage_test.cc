#include "train/data_stage.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/rng.h"
#include "train/near_duplicates.h"

namespace geist::train {
namespace {

std::string words(int first, int count) {
  std::string text;
  for (int i = first; i < first + count; ++i) text += "word" + std::to_string(i) + " ";
  return text;
}

TEST(Quality, EachMeasureDropsWhatItIsFor) {
  std::string good;
  for (int i = 0; i < 60; ++i)
    good += "sentence number" + std::string(1, 'a' + i % 26) + std::string(1, 'a' + i / 26) +
            " speaks\n";
  const QualityOptions web = web_quality();
  EXPECT_EQ(quality_fault(good, web), "");
  EXPECT_EQ(quality_fault(good + "\xff", web), "utf8");
  EXPECT_EQ(quality_fault("too short", web), "words_min");
  EXPECT_EQ(quality_fault(good, {.words_max = 10}), "words_max");
  std::string letters, numbers, bullets, ellipses, symbols, lines, runs;
  for (int i = 0; i < 60; ++i) {
    const std::string number = std::to_string(10'000 + i * i);
    letters += "a b" + std::to_string(i) + " ";
    numbers += number + " ";
    bullets += "- item-" + number + "x\n";
    ellipses += "and then item" + number + "...\n";
    symbols += "#tag" + number + " ";
    lines += i % 2 == 0 ? "the same line\n" : "line of " + number + "x\n";
    runs += "one two three four five six " + std::string(i % 2, 'x') + " ";
  }
  EXPECT_EQ(quality_fault(letters, web), "word_length_min");
  EXPECT_EQ(quality_fault(numbers, web), "letter_words_min");
  EXPECT_EQ(quality_fault(symbols, web), "symbols_max");
  EXPECT_EQ(quality_fault(bullets, {.bullet_lines_max = 0.9}), "bullet_lines_max");
  EXPECT_EQ(quality_fault(ellipses, {.ellipsis_lines_max = 0.3}), "ellipsis_lines_max");
  EXPECT_EQ(quality_fault(lines, {.repeated_lines_max = 0.3}), "repeated_lines_max");
  EXPECT_EQ(quality_fault(runs, web), "repeated_words_max");
  EXPECT_EQ(quality_fault(std::string(300, 'x') + " y", {.word_length_max = 10}),
            "word_length_max");
  EXPECT_EQ(quality_fault("", {}), "");
}

TEST(NearDuplicates, SimilarityIsThatOfTheSets) {
  // Two documents of 1000 runs, of which `shared` are in both.
  for (const int shared : {0, 300, 800, 1000}) {
    const double jaccard = shared / (2000.0 - shared);
    const Signature a = signature_of(words(0, 1004)), b = signature_of(words(1000 - shared, 1004));
    EXPECT_NEAR(similarity(a, b), jaccard, 0.15) << shared;
  }
  EXPECT_EQ(signature_of("One two three"), signature_of("one  TWO\nthree"));
  EXPECT_NE(signature_of("one two"), signature_of("one two three"));
}

TEST(NearDuplicates, FindsMostOfThemAndNothingElse) {
  NearDuplicates kept(0.8);
  int found = 0, wrong = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string document = words(i * 1000, 200);
    wrong += kept.is_duplicate(signature_of(document));
    found += kept.is_duplicate(signature_of(document + "and five words at the end"));
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(found, 195);
}

TEST(Documents, PiecesEndBehindLinesAndSplitsByTheText) {
  std::vector<std::string> pieces;
  const auto cut = [&](int64_t bytes) {
    pieces.clear();
    (void)for_each_piece("aaaa\nbbbb\ncc", bytes, [&](std::string_view piece) -> Status {
      pieces.emplace_back(piece);
      return {};
    });
    return pieces;
  };
  EXPECT_EQ(cut(0), std::vector<std::string>{"aaaa\nbbbb\ncc"});
  EXPECT_EQ(cut(2), (std::vector<std::string>{"aaaa\n", "bbbb\n", "cc"}));
  EXPECT_EQ(cut(6), (std::vector<std::string>{"aaaa\nbbbb\n", "cc"}));
  int aside = 0;
  for (int i = 0; i < 10'000; ++i) aside += is_validation("document " + std::to_string(i), 0.1);
  EXPECT_NEAR(aside, 1000, 120);
  EXPECT_FALSE(is_validation("x", 0));
}

TEST(Manifest, NamesShardsAndRefusesTheRest) {
  DataReport report;
  report.dropped["utf8"] = {.documents = 1, .bytes = 2};
  report.first_dropped["utf8"] = "a.txt, document 1";
  report.shards = {{.file = "train-00000.shard", .sha256 = "ab", .validation = true}};
  const auto back = parse_manifest(manifest_text(report), "m");
  ASSERT_TRUE(back.ok());
  ASSERT_EQ(back->size(), 1u);
  EXPECT_EQ(back->front().file, "train-00000.shard");
  EXPECT_EQ(back->front().sha256, "ab");
  EXPECT_TRUE(back->front().validation);
  for (const char* bad :
       {"", "{}", "[]", R"({"shards": [1]})", R"({"shards": [{"file": "a", "sha256": "b"}]})",
        R"({"shards": [{"file": "../a", "sha256": "b", "validation": false}]})"})
    EXPECT_FALSE(parse_manifest(bad, "m").ok()) << bad;
}

}  // namespace
}  // namespace geist::train
