#include "gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>

#include "gguf/raw_gguf.h"
#include "tests/support/shared_data.h"

namespace geist::gguf {
namespace {

namespace fs = std::filesystem;
using kernels::TensorType;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint32_t kF32 = 0, kQ4_0 = 2, kQ4_K = 12;

std::string error_of(const RawGguf& raw) {
  const auto file = File::parse(raw.span(), "m.gguf");
  return file.ok() ? "no error" : file.error().message;
}

// A small valid file: every value type, several tensors.
RawGguf small_file(uint32_t version = 3) {
  RawGguf raw;
  raw.preamble(2, 15, version);
  raw.key("a.u8", ValueType::kU8).u8(200);
  raw.key("a.i8", ValueType::kI8).number<int8_t>(-100);
  raw.key("a.u16", ValueType::kU16).number<uint16_t>(60000);
  raw.key("a.i16", ValueType::kI16).number<int16_t>(-30000);
  raw.key("a.u32", ValueType::kU32).u32(4000000000u);
  raw.key("a.i32", ValueType::kI32).number<int32_t>(-7);
  raw.key("a.u64", ValueType::kU64).u64(~0ull);
  raw.key("a.i64", ValueType::kI64).number<int64_t>(std::numeric_limits<int64_t>::min());
  raw.key("a.f32", ValueType::kF32).f32(0.1f);
  raw.key("a.f64", ValueType::kF64).number(0.1);
  raw.key("a.bool", ValueType::kBool).u8(1);
  raw.key("a.string", ValueType::kString).string(std::string_view("any\0\xff", 5));
  raw.array("a.strings", ValueType::kString, 2).string("x").string("");
  raw.array("a.floats", ValueType::kF32, 2).f32(1.5f).f32(-2);
  raw.array("a.bools", ValueType::kBool, 3).u8(1).u8(0).u8(1);
  raw.tensor("w", {32, 2}, kQ4_0, 0).tensor("b", {3}, kF32, 64);
  return raw.pad().zeros(36).pad().f32(1).f32(2).f32(3);
}

TEST(Gguf, ReadsEveryValueType) {
  for (const uint32_t version : {2u, 3u}) {
    const RawGguf raw = small_file(version);
    const auto file = File::parse(raw.span(), "m.gguf");
    ASSERT_TRUE(file.ok()) << file.error().message;
    const Metadata& metadata = file->metadata();
    EXPECT_EQ(file->version(), version);
    EXPECT_EQ(metadata.size(), 15u);
    EXPECT_EQ(*get_int(metadata, "a.u8").value(), 200);
    EXPECT_EQ(*get_int(metadata, "a.i8").value(), -100);
    EXPECT_EQ(*get_int(metadata, "a.u16").value(), 60000);
    EXPECT_EQ(*get_int(metadata, "a.i16").value(), -30000);
    EXPECT_EQ(*get_int(metadata, "a.u32").value(), 4000000000);
    EXPECT_EQ(*get_int(metadata, "a.i32").value(), -7);
    EXPECT_EQ(*get_int(metadata, "a.i64").value(), std::numeric_limits<int64_t>::min());
    EXPECT_EQ(*get_float(metadata, "a.f32").value(), double{0.1f});
    EXPECT_EQ(*get_float(metadata, "a.f64").value(), 0.1);
    EXPECT_EQ(*get_bool(metadata, "a.bool").value(), true);
    EXPECT_EQ(*get_string(metadata, "a.string").value(), std::string("any\0\xff", 5));
    EXPECT_EQ(*get_strings(metadata, "a.strings").value(), (std::vector<std::string>{"x", ""}));
    EXPECT_EQ(*get_floats(metadata, "a.floats").value(), (std::vector<float>{1.5f, -2}));
    EXPECT_EQ(*get_ints(metadata, "a.bools").value(), (std::vector<int64_t>{1, 0, 1}));
  }
}

TEST(Gguf, PlacesTensors) {
  const RawGguf raw = small_file();
  const auto file = File::parse(raw.span(), "m.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors().size(), 2u);
  const Tensor* w = file->find("w");
  ASSERT_NE(w, nullptr);
  EXPECT_EQ(w->type, TensorType::kQ4_0);
  EXPECT_EQ(w->columns(), 32);
  EXPECT_EQ(w->rows(), 2);
  EXPECT_EQ(w->data.size(), 36u);
  const Tensor* b = file->find("b");
  ASSERT_NE(b, nullptr);
  float values[3];
  std::memcpy(values, b->data.data(), sizeof values);
  EXPECT_THAT(values, ::testing::ElementsAre(1, 2, 3));
  EXPECT_EQ(b->data.data() + b->data.size(), raw.span().data() + raw.span().size());
  EXPECT_EQ(file->find("absent"), nullptr);
}

TEST(Gguf, GettersRefuseMistypedKeys) {
  const RawGguf raw = small_file();
  const auto file = File::parse(raw.span(), "m.gguf");
  ASSERT_TRUE(file.ok());
  const Metadata& metadata = file->metadata();
  EXPECT_FALSE(get_int(metadata, "absent").value().has_value());
  EXPECT_EQ(get_strings(metadata, "absent").value(), nullptr);
  EXPECT_FALSE(get_ints(metadata, "absent").value().has_value());
  EXPECT_EQ(get_int(metadata, "a.f32").error().message,
            "key 'a.f32' is of type f32, expected an integer");
  EXPECT_EQ(get_string(metadata, "a.strings").error().message,
            "key 'a.strings' is of type array of string, expected a string");
  EXPECT_FALSE(get_int(metadata, "a.u64").ok()) << "does not fit";
  EXPECT_FALSE(get_int(metadata, "a.bool").ok());
  EXPECT_FALSE(get_bool(metadata, "a.u8").ok());
  EXPECT_FALSE(get_float(metadata, "a.i32").ok());
  EXPECT_FALSE(get_strings(metadata, "a.floats").ok());
  EXPECT_FALSE(get_floats(metadata, "a.strings").ok());
  EXPECT_FALSE(get_ints(metadata, "a.floats").ok());
}

TEST(Gguf, AcceptsAVocabularyAlone) {
  RawGguf raw;
  raw.preamble(0, 1).key("general.architecture", ValueType::kString).string("llama");
  const auto file = File::parse(raw.span(), "v.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_TRUE(file->tensors().empty());
}

// ---- hostile input: one test a class (CVE-2024-21802, CVE-2025-53630, CVE-2026-7482,
// CVE-2026-27940 and kin) ----

TEST(GgufHostile, TruncatedAtEveryByte) {
  const std::string whole = small_file().bytes();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<std::byte> part(
        std::as_bytes(std::span(whole)).begin(),
        std::as_bytes(std::span(whole)).begin() + static_cast<ptrdiff_t>(size));
    const auto file = File::parse(part, "m.gguf");
    ASSERT_FALSE(file.ok()) << size;
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos);
    if (size > 0) {
      EXPECT_THAT(file.error().message,
                  AllOf(HasSubstr("cut short at byte " + std::to_string(size) + " of"),
                        HasSubstr("download it again")));
    }
  }
}

TEST(GgufHostile, OtherFiles) {
  EXPECT_THAT(error_of(RawGguf().text("")), HasSubstr("empty"));
  EXPECT_THAT(error_of(RawGguf().text("<!DOCTYPE html><html>")), HasSubstr("web page"));
  EXPECT_THAT(error_of(RawGguf().text("version https://git-lfs.github.com/spec/v1\n")),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(error_of(RawGguf().text("PK\3\4....")), HasSubstr("zip"));
  EXPECT_THAT(error_of(RawGguf().text("tjgg....")), HasSubstr("before GGUF"));
  EXPECT_THAT(error_of(RawGguf().text("\x1b[2J\n...")),
              AllOf(HasSubstr("\\x1b"), Not(HasSubstr("\n"))));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 0, 1)), HasSubstr("version 1 is not supported"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 0, 4)), HasSubstr("version 4 is not supported"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 0, 0x03000000)), HasSubstr("big-endian"));
}

TEST(GgufHostile, CountsAllocateNothing) {
  EXPECT_THAT(error_of(RawGguf().preamble(~0ull, 0)),
              HasSubstr("claims 18446744073709551615 tensors"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, ~0ull)),
              HasSubstr("claims 18446744073709551615 keys"));
  EXPECT_THAT(error_of(RawGguf().preamble(1u << 20, 0)), HasSubstr("cut short"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).array("k", ValueType::kU64, 1ull << 61)),
              HasSubstr("claims"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).array("k", ValueType::kString, 1ull << 60)),
              HasSubstr("claims"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).array("k", ValueType::kF64, 1u << 24)),
              HasSubstr("cut short"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).array("k", ValueType::kString, 1u << 24)),
              HasSubstr("cut short"));
}

TEST(GgufHostile, ArrayBudgetIsForTheWholeFile) {
  RawGguf raw;
  raw.preamble(0, 2).array("a", ValueType::kU8, 1u << 24).zeros(1u << 24);
  raw.array("b", ValueType::kU8, 1).u8(0);
  EXPECT_THAT(error_of(raw), HasSubstr("the array 'b' claims 1 elements"));
}

TEST(GgufHostile, StringsBeyondTheFile) {
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).u64(~0ull).zeros(64)),
              HasSubstr("claims 18446744073709551615 bytes"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).u64(65536).zeros(70000)), HasSubstr("65536"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).u64(300).zeros(64)), HasSubstr("cut short"));
  for (const uint64_t size : {1ull << 20, 1ull << 40, ~0ull - 8, ~0ull}) {
    RawGguf raw, element;
    raw.preamble(0, 1).key("k", ValueType::kString).u64(size).zeros(64);
    EXPECT_THAT(error_of(raw), AllOf(HasSubstr("'k'"), HasSubstr("download it again"))) << size;
    element.preamble(0, 1).array("k", ValueType::kString, 2).string("x").u64(size).zeros(64);
    EXPECT_THAT(error_of(element), AllOf(HasSubstr("'k'"), HasSubstr("download it again"))) << size;
  }
}

RawGguf two_keys(std::string_view first, std::string_view second) {
  return RawGguf()
      .preamble(0, 2)
      .key(first, ValueType::kU32)
      .u32(1)
      .key(second, ValueType::kU32)
      .u32(2);
}

TEST(GgufHostile, Keys) {
  EXPECT_EQ(error_of(two_keys("a", "b")), "no error");
  EXPECT_THAT(error_of(two_keys("a", "a")), HasSubstr("'a' is there twice"));
  EXPECT_THAT(error_of(two_keys("a", "")), HasSubstr("key 1 is empty"));
  EXPECT_THAT(error_of(two_keys("a", std::string_view("b\0c", 3))), HasSubstr("'b\\x00c'"));
  EXPECT_THAT(error_of(two_keys("a", "\xc3(")), HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of(two_keys("a", "\xed\xa0\x80")), HasSubstr("not UTF-8")) << "a surrogate";
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).string("k").u32(13).u64(0)),
              HasSubstr("unknown value type 13"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).array("k", static_cast<ValueType>(99), 0).zeros(8)),
              HasSubstr("unknown value type 99"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).array("k", ValueType::kArray, 1).zeros(64)),
              HasSubstr("array of arrays"));
  EXPECT_THAT(error_of(RawGguf().preamble(0, 1).key("k", ValueType::kBool).u8(2)),
              HasSubstr("neither false"));
}

RawGguf aligned(ValueType type, uint64_t alignment, uint64_t offset) {
  RawGguf raw;
  raw.preamble(1, 1).key("general.alignment", type);
  if (type == ValueType::kU64) raw.u64(alignment);
  if (type == ValueType::kU32) raw.u32(static_cast<uint32_t>(alignment));
  if (type == ValueType::kString) raw.string("32");
  raw.tensor("t", {4}, kF32, offset);
  return std::has_single_bit(alignment) && alignment <= 4096 ? raw.pad(alignment).zeros(offset + 16)
                                                             : raw.zeros(4096);
}

TEST(GgufHostile, Alignment) {
  EXPECT_EQ(error_of(aligned(ValueType::kU32, 8, 0)), "no error");
  EXPECT_EQ(error_of(aligned(ValueType::kU32, 4096, 4096)), "no error");
  for (const uint64_t bad : {0u, 1u, 4u, 24u, 33u, 1u << 31, ~0u})
    EXPECT_THAT(error_of(aligned(ValueType::kU32, bad, 0)), HasSubstr("must be a power of two"))
        << bad;
  EXPECT_THAT(error_of(aligned(ValueType::kU64, 32, 0)),
              HasSubstr("is of type u64, it must be u32"));
  EXPECT_THAT(error_of(aligned(ValueType::kString, 32, 0)),
              HasSubstr("is of type string, it must be u32"));
  EXPECT_THAT(error_of(aligned(ValueType::kU32, 64, 32)),
              HasSubstr("not a multiple of the alignment 64"));
}

RawGguf one_tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                   uint64_t offset, size_t data_bytes = 64) {
  return RawGguf().preamble(1, 0).tensor(name, dims, type, offset).pad().zeros(data_bytes);
}

TEST(GgufHostile, Dimensions) {
  constexpr uint64_t kHalf = 1ull << 63;
  EXPECT_EQ(error_of(one_tensor("t", {4, 1, 2, 2}, kF32, 0)), "no error");
  EXPECT_THAT(error_of(one_tensor("t", {}, kF32, 0)), HasSubstr("0 dimensions"));
  EXPECT_THAT(error_of(one_tensor("t", {1, 1, 1, 1, 1}, kF32, 0)), HasSubstr("5 dimensions"));
  EXPECT_THAT(error_of(one_tensor("t", {4, 0}, kF32, 0)),
              HasSubstr("dimension 1 of tensor 't' is 0"));
  EXPECT_THAT(error_of(one_tensor("t", {kHalf}, kF32, 0)),
              HasSubstr("dimension 0 of tensor 't' is -"));
  EXPECT_THAT(error_of(one_tensor("t", {~0ull, ~0ull}, kF32, 0)),
              HasSubstr("dimension 0 of tensor 't' is -1"));
  EXPECT_THAT(error_of(one_tensor("t", {1ull << 32, 1ull << 32}, kF32, 0)), HasSubstr("overflow"));
  EXPECT_THAT(error_of(one_tensor("t", {1ull << 21, 1ull << 21, 1ull << 22, 1}, kF32, 0)),
              HasSubstr("overflow"));
  EXPECT_THAT(error_of(one_tensor("t", {kHalf / 2}, kF32, 0)), HasSubstr("overflow"))
      << "elements fit, bytes do not";
  EXPECT_THAT(error_of(one_tensor("t", {31}, kQ4_0, 0)),
              HasSubstr("not a multiple of the 32 of type Q4_0"));
  EXPECT_THAT(error_of(one_tensor("t", {128}, kQ4_K, 0)),
              HasSubstr("not a multiple of the 256 of type Q4_K"));
}

TEST(GgufHostile, ExtentsAndOffsets) {
  EXPECT_THAT(error_of(one_tensor("t", {17}, kF32, 0)), HasSubstr("tensor 't' ends there"));
  EXPECT_THAT(error_of(one_tensor("t", {16}, kF32, 32)),
              HasSubstr("cut short at byte 128 of 160 needed"));
  EXPECT_THAT(error_of(one_tensor("t", {1}, kF32, 1)),
              HasSubstr("not a multiple of the alignment 32"));
  EXPECT_THAT(error_of(one_tensor("t", {1}, kF32, ~0ull - 31)), HasSubstr("overflows"))
      << "offset wraps";
  EXPECT_THAT(error_of(one_tensor("t", {1}, kF32, 1ull << 62)), HasSubstr("overflows"));
  EXPECT_THAT(error_of(RawGguf().preamble(1, 0).tensor("t", {1}, kF32, 0)), HasSubstr("cut short"))
      << "the padding itself is missing";
}

RawGguf two_tensors(std::string_view first, std::string_view second, uint64_t first_offset,
                    uint64_t second_offset) {
  RawGguf raw;
  raw.preamble(2, 0)
      .tensor(first, {16}, kF32, first_offset)
      .tensor(second, {16}, kF32, second_offset);
  return raw.pad().zeros(256);
}

TEST(GgufHostile, TwoTensors) {
  EXPECT_EQ(error_of(two_tensors("a", "b", 0, 64)), "no error");
  EXPECT_EQ(error_of(two_tensors("a", "b", 64, 0)), "no error") << "any order";
  EXPECT_THAT(error_of(two_tensors("a", "b", 0, 32)), HasSubstr("tensors 'a' and 'b' overlap"));
  EXPECT_THAT(error_of(two_tensors("a", "b", 32, 0)), HasSubstr("tensors 'b' and 'a' overlap"));
  EXPECT_THAT(error_of(two_tensors("a", "b", 0, 0)), HasSubstr("overlap"));
  EXPECT_THAT(error_of(two_tensors("a", "a", 0, 64)), HasSubstr("the tensor 'a' is there twice"));
  EXPECT_THAT(error_of(two_tensors("a", "", 0, 64)), HasSubstr("name of tensor 1 is empty"));
  EXPECT_THAT(error_of(two_tensors("a", "\x80", 0, 64)), HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of(two_tensors("a", std::string(257, 'x'), 0, 64)),
              HasSubstr("claims 257 bytes"));
}

TEST(GgufHostile, UnsupportedTypesAreNamed) {
  EXPECT_THAT(error_of(one_tensor("blk.0.w", {256}, 34, 0)),
              AllOf(HasSubstr("'blk.0.w'"), HasSubstr("type 34 (TQ1_0) is not supported")));
  EXPECT_THAT(error_of(one_tensor("t", {32}, 39, 0)),
              HasSubstr("type 39 (MXFP4) is not supported"));
  EXPECT_THAT(error_of(one_tensor("t", {32}, ~0u, 0)),
              HasSubstr("type 4294967295 (unknown) is not supported"));
}

// ---- files
// ---------------------------------------------------------------------------------------------------

class GgufFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) /
        (std::string("gguf_") + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
         "_" + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void put(const std::string& name, const RawGguf& raw) const {
    std::ofstream(path(name), std::ios::binary) << raw.bytes();
  }
  fs::path folder_;
};

TEST_F(GgufFile, WriterRoundTrip) {
  Metadata metadata{
      {"general.architecture", Value::string("llama")},
      {"general.alignment", Value::u32(64)},
      {"n.u32", Value::u32(7)},
      {"n.i32", Value::i32(-7)},
      {"n.u64", Value::u64(~0ull)},
      {"n.f32", Value::f32(0.25f)},
      {"n.bool", Value::boolean(true)},
      {"l.strings", Value::strings({"a", "", "c"})},
      {"l.f32s", Value::f32s({1, 2})},
      {"l.i32s", Value::i32s({-1, 2})},
      {"l.u32s", Value::u32s({})},
  };
  const RawGguf all_types = small_file();
  const auto source = File::parse(all_types.span(), "m.gguf");
  ASSERT_TRUE(source.ok());
  for (const auto& [key, value] : source->metadata()) metadata.emplace(key, value);
  const std::vector<float> a = {1, 2, 3}, b = {4, 5, 6, 7};
  auto writer = Writer::create(path("o.gguf"), metadata,
                               {{"a", TensorType::kF32, {3}}, {"b", TensorType::kF32, {2, 2}}});
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_TRUE(writer->write_tensor(std::as_bytes(std::span(a))).ok());
  EXPECT_FALSE(fs::exists(path("o.gguf"))) << "never in place";
  ASSERT_TRUE(writer->write_tensor(std::as_bytes(std::span(b))).ok());
  ASSERT_TRUE(writer->commit().ok());

  const auto file = File::open(path("o.gguf"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->version(), 3u);
  EXPECT_EQ(file->file_bytes(), fs::file_size(path("o.gguf")));
  metadata.erase("general.alignment");
  ASSERT_EQ(file->metadata().size(), metadata.size());
  for (const auto& [key, value] : metadata) {
    const Value& read = file->metadata().at(key);
    EXPECT_EQ(read.type, value.type) << key;
    if (value.type == ValueType::kArray) {
      EXPECT_EQ(read.element_type, value.element_type) << key;
    }
    EXPECT_EQ(read.data, value.data) << key;
  }
  const Tensor* tensor = file->find("b");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dims, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(std::memcmp(tensor->data.data(), b.data(), sizeof(float) * 4), 0);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor->data.data()) % Writer::kAlignment, 0u);
  file->release(*tensor);
  EXPECT_EQ(std::memcmp(tensor->data.data(), b.data(), sizeof(float) * 4), 0)
      << "read again after release";
}

TEST_F(GgufFile, WriterRefusesWhatReadersWouldRefuse) {
  const auto refused = [&](const Metadata& metadata, std::vector<TensorToWrite> tensors) {
    const auto writer = Writer::create(path("o.gguf"), metadata, std::move(tensors));
    return writer.ok() ? "no error" : writer.error().message;
  };
  EXPECT_THAT(refused({}, {{"t", TensorType::kQ4_0, {33}}}), HasSubstr("whole number of blocks"));
  EXPECT_THAT(refused({}, {{"t", TensorType::kF32, {4, 0}}}), HasSubstr("positive"));
  EXPECT_THAT(refused({}, {{"t", TensorType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}),
              HasSubstr("too large"));
  EXPECT_THAT(refused({}, {{"t", TensorType::kF32, {1}}, {"t", TensorType::kF32, {1}}}),
              HasSubstr("twice"));
  EXPECT_THAT(refused({{"k", Value{ValueType::kU32, {}, std::string("x")}}}, {}),
              HasSubstr("does not match"));
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_THAT(Writer::create(path("no/o.gguf"), {}, {}).error().message,
              HasSubstr("cannot create"));
}

RawGguf part(uint16_t number, uint16_t count, std::string_view tensor, int32_t total) {
  RawGguf raw;
  raw.preamble(1, 4).key("split.no", ValueType::kU16).number(number);
  raw.key("split.count", ValueType::kU16).number(count);
  raw.key("split.tensors.count", ValueType::kI32).number(total);
  raw.key("general.name", ValueType::kString).string("part " + std::to_string(number));
  return raw.tensor(tensor, {1}, kF32, 0).pad().f32(number);
}

TEST_F(GgufFile, JoinsSplitFiles) {
  for (uint16_t i = 0; i < 3; ++i)
    put("m-0000" + std::to_string(i + 1) + "-of-00003.gguf",
        part(i, 3, "t" + std::to_string(i), 3));
  const auto file = File::open(path("m-00001-of-00003.gguf"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(*get_string(file->metadata(), "general.name").value(), "part 0");
  EXPECT_FALSE(file->metadata().contains("split.count")) << "the file is whole now";
  float value = 0;
  std::memcpy(&value, file->find("t2")->data.data(), sizeof value);
  EXPECT_EQ(value, 2);
  file->release(*file->find("t1"));
  EXPECT_THAT(File::open(path("m-00002-of-00003.gguf")).error().message,
              AllOf(HasSubstr("part 2 of 3; open the first"), HasSubstr("m-00001-of-00003.gguf")));
  const auto alone = part(1, 3, "t1", 3);
  EXPECT_TRUE(File::parse(alone.span(), "part").ok());
}

TEST_F(GgufFile, SplitFaults) {
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  put(first, part(0, 2, "a", 2));
  EXPECT_THAT(File::open(path(first)).error().message,
              AllOf(HasSubstr(second), HasSubstr("cannot open")));
  put(second, part(1, 2, "a", 2));
  EXPECT_THAT(File::open(path(first)).error().message,
              AllOf(HasSubstr(second), HasSubstr("'a' is there twice")));
  put(second, part(0, 2, "b", 2));
  EXPECT_THAT(File::open(path(first)).error().message, HasSubstr("not part 2 of 2"));
  put(second, small_file());
  EXPECT_THAT(File::open(path(first)).error().message, HasSubstr("not part 2 of 2"));
  put(second, part(1, 2, "b", 2));
  put(first, part(0, 2, "a", 9));
  EXPECT_THAT(File::open(path(first)).error().message, HasSubstr("hold 2 tensors of 9 announced"));
  put("other.gguf", part(0, 2, "a", 2));
  EXPECT_THAT(File::open(path("other.gguf")).error().message,
              HasSubstr("must be named NAME-00001-of-00002.gguf"));
  put("huge.gguf", part(0, 65535, "a", 2));
  EXPECT_THAT(File::open(path("huge.gguf")).error().message, HasSubstr("damaged"));
  put("beyond.gguf", part(5, 2, "a", 2));
  EXPECT_THAT(File::open(path("beyond.gguf")).error().message, HasSubstr("part 5 of 2"));
  EXPECT_THAT(File::open(path("absent.gguf")).error().message, HasSubstr("absent.gguf"));
}

// A header of 80 layers, 723 tensors and 128256 tokens over 40 GB that exist only as a hole.
TEST_F(GgufFile, LargerThanMemoryOpensAtOnce) {
  constexpr uint64_t kColumns = 8192, kRows = 28672, kRowBytes = kColumns / 32 * 18;
  constexpr uint64_t kTensors = 320;
  RawGguf raw;
  raw.preamble(kTensors, 1).array("tokenizer.ggml.tokens", ValueType::kString, 128256);
  for (int i = 0; i < 128256; ++i) raw.string("token" + std::to_string(i));
  for (uint64_t i = 0; i < kTensors; ++i)
    raw.tensor("blk." + std::to_string(i) + ".w", {kColumns, kRows}, kQ4_0, i * kRowBytes * kRows);
  raw.pad();
  put("70b.gguf", raw);
  std::error_code error;
  fs::resize_file(path("70b.gguf"), raw.bytes().size() + kTensors * kRowBytes * kRows, error);
  if (error) GTEST_SKIP() << "this file system has no sparse files: " << error.message();

  const auto start = std::chrono::steady_clock::now();
  const auto file = File::open(path("70b.gguf"));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_GT(file->file_bytes(), 39ull << 30);
  EXPECT_LT(seconds.count(), 1.0);
  const Tensor& middle = file->tensors()[kTensors / 2];
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(middle.data.data()) + page - 1) / page * page;
  std::vector<unsigned char> resident(middle.data.size() / page - 1);
  ASSERT_EQ(mincore(reinterpret_cast<void*>(begin), resident.size() * page, resident.data()), 0);
  EXPECT_EQ(
      std::count_if(resident.begin(), resident.end(), [](unsigned char c) { return (c & 1) != 0; }),
      0)
      << "opening must not read tensor data";
}

// Every published or generated file at hand opens, and its tensors fill what the file says.
TEST(Gguf, OpensFilesOfOtherWriters) {
  int count = 0;
  for (const char* folder : {"data/golden/dev/models", "data/tokenizers/gguf-vocab"}) {
    const auto path_of_folder = geist::testing::shared_path(folder);
    if (!path_of_folder) continue;
    for (const auto& entry : fs::directory_iterator(*path_of_folder)) {
      if (entry.path().extension() != ".gguf") continue;
      const auto file = File::open(entry.path().string());
      ASSERT_TRUE(file.ok()) << file.error().message;
      EXPECT_TRUE(get_string(file->metadata(), "general.architecture").value().has_value());
      uint64_t bytes = 0;
      for (const Tensor& tensor : file->tensors()) bytes += tensor.data.size();
      EXPECT_LE(bytes, file->file_bytes());
      ++count;
    }
  }
  if (count == 0) GTEST_SKIP() << "no files; set GEIST_SHARED";
}

TEST(Gguf, Assembles) {
  auto data = std::make_shared<std::vector<float>>(6, 1.0f);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(*data));
  const std::weak_ptr<std::vector<float>> watch = data;
  {
    const File file = File::assemble(
        {{"k", Value::u32(1)}}, {{"t", TensorType::kF32, {3, 2}, bytes}}, std::move(data), "x");
    EXPECT_EQ(file.find("t")->rows(), 2);
    EXPECT_EQ(file.file_bytes(), 24u);
    EXPECT_FALSE(watch.expired()) << "the file keeps what its tensors point into";
    file.release(*file.find("t"));
  }
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace geist::gguf
