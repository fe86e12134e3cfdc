#include "gguf/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/support/shared_data.h"

namespace geist::gguf {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string file_bytes(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string out(reinterpret_cast<const char*>(&size), 8);
  out += header;
  for (size_t i = 0; i < data_bytes; ++i) out += static_cast<char>(i);
  return out;
}

std::string error_of(const std::string& bytes) {
  const auto file = SafeTensors::parse(std::as_bytes(std::span(bytes)), "m.safetensors");
  return file.ok() ? "no error" : file.error().message;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string error_of_entry(const std::string& dtype, const std::string& shape,
                           const std::string& offsets, size_t data_bytes) {
  return error_of(file_bytes("{" + entry("t", dtype, shape, offsets) + "}", data_bytes));
}

TEST(Safetensors, ReadsTensors) {
  const std::string bytes = file_bytes(
      "{\"__metadata__\":{\"format\":\"pt\"}," + entry("b", "F16", "[2,3]", "[4,16]") + "," +
          entry("a", "F32", "[]", "[0,4]") + "," + entry("e", "BF16", "[0,7]", "[4,4]") + "}  ",
      16);
  const auto file = SafeTensors::parse(std::as_bytes(std::span(bytes)), "m.safetensors");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->metadata().at("format"), "pt");
  ASSERT_EQ(file->tensors().size(), 3u);
  const SafeTensor* b = file->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, Dtype::kF16);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(b->elements(), 6);
  ASSERT_EQ(b->data.size(), 12u);
  EXPECT_EQ(b->data[0], std::byte{4});
  EXPECT_EQ(file->find("a")->elements(), 1) << "a scalar";
  EXPECT_EQ(file->find("e")->data.size(), 0u);
  EXPECT_EQ(file->find("c"), nullptr);
}

TEST(Safetensors, TruncatedAtEveryByte) {
  const std::string whole = file_bytes("{" + entry("t", "F32", "[4]", "[0,16]") + "}", 16);
  ASSERT_EQ(error_of(whole), "no error");
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::vector<char> part(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    const auto file = SafeTensors::parse(std::as_bytes(std::span(part)), "m.safetensors");
    ASSERT_FALSE(file.ok()) << size;
    EXPECT_THAT(file.error().message, HasSubstr("cut short at byte " + std::to_string(size)));
  }
}

TEST(SafetensorsHostile, Headers) {
  EXPECT_THAT(error_of(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10)),
              HasSubstr("not a safetensors file"));
  EXPECT_THAT(error_of(file_bytes(" {}", 0)), HasSubstr("does not begin"));
  EXPECT_THAT(error_of(file_bytes("{\"\xff\":1}", 0)), HasSubstr("not UTF-8"));
  EXPECT_THAT(error_of(file_bytes("{", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of(file_bytes("{} x", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(error_of(file_bytes("{\"a\":" + std::string(1 << 20, '['), 0)),
              HasSubstr("nested too deep"));
  EXPECT_THAT(error_of(file_bytes("{\"__metadata__\":{\"a\":1}}", 0)), HasSubstr("not a string"));
  EXPECT_THAT(error_of(file_bytes("{\"__metadata__\":[]}", 0)), HasSubstr("not an object"));
  const std::string twice = entry("t", "U8", "[1]", "[0,1]");
  EXPECT_THAT(error_of(file_bytes("{" + twice + "," + twice + "}", 1)),
              HasSubstr("'t' is there twice"));
}

TEST(SafetensorsHostile, Entries) {
  EXPECT_EQ(error_of_entry("I64", "[1]", "[0,8]", 8), "no error");
  EXPECT_THAT(error_of_entry("F8_E4M3", "[1]", "[0,1]", 1),
              HasSubstr("dtype 'F8_E4M3' is not supported"));
  EXPECT_THAT(error_of_entry("F32", "[-1]", "[0,4]", 4), HasSubstr("not a size"));
  EXPECT_THAT(error_of_entry("F32", "[1.0]", "[0,4]", 4), HasSubstr("not a size"));
  EXPECT_THAT(error_of_entry("F32", "[9223372036854775808]", "[0,4]", 4), HasSubstr("not a size"));
  EXPECT_THAT(error_of_entry("F32", "[4611686018427387904]", "[0,4]", 4), HasSubstr("overflow"));
  EXPECT_THAT(error_of_entry("U8", "[4294967296,4294967296]", "[0,4]", 4), HasSubstr("overflow"));
  EXPECT_THAT(error_of_entry("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]", 1),
              HasSubstr("too many dimensions"));
  EXPECT_THAT(error_of_entry("F32", "{}", "[0,4]", 4), HasSubstr("no shape"));
  EXPECT_THAT(error_of_entry("F32", "[1]", "[4,0]", 4), HasSubstr("not a range"));
  EXPECT_THAT(error_of_entry("F32", "[1]", "[-4,0]", 4), HasSubstr("not a range"));
  EXPECT_THAT(error_of_entry("F32", "[1]", "[0]", 4), HasSubstr("no data_offsets"));
  EXPECT_THAT(error_of_entry("F32", "[1]", "[0,5]", 5),
              HasSubstr("has 5 bytes, its shape needs 4"));
  EXPECT_THAT(error_of(file_bytes("{\"t\":1}", 0)), HasSubstr("not described by an object"));
  EXPECT_THAT(error_of(file_bytes("{\"t\":{}}", 0)), HasSubstr("no dtype"));
  EXPECT_THAT(error_of(file_bytes("{" + entry("", "U8", "[1]", "[0,1]") + "}", 1)),
              HasSubstr("empty name"));
}

TEST(SafetensorsHostile, DataIsFilledExactly) {
  const auto two = [](const std::string& first, const std::string& second, size_t data_bytes) {
    return error_of(file_bytes(
        "{" + entry("a", "F32", "[2]", first) + "," + entry("b", "F32", "[2]", second) + "}",
        data_bytes));
  };
  EXPECT_EQ(two("[0,8]", "[8,16]", 16), "no error");
  EXPECT_EQ(two("[8,16]", "[0,8]", 16), "no error");
  EXPECT_THAT(two("[0,8]", "[4,12]", 12), HasSubstr("'b' begins at 4, the one before it ends at 8"))
      << "overlap";
  EXPECT_THAT(two("[0,8]", "[0,8]", 8), HasSubstr("begins at 0")) << "aliases";
  EXPECT_THAT(two("[0,8]", "[12,20]", 20), HasSubstr("'b' begins at 12")) << "a hole";
  EXPECT_THAT(two("[0,8]", "[8,16]", 15), HasSubstr("cut short"));
  EXPECT_THAT(two("[0,8]", "[8,16]", 20), HasSubstr("4 bytes follow the last tensor"));
}

class SafetensorsFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              (std::string("safetensors_") +
               ::testing::UnitTest::GetInstance()->current_test_info()->name() + "_" +
               std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
  }
  std::string index_error(const std::string& weight_map) const {
    put("model.safetensors.index.json", "{\"weight_map\":" + weight_map + "}");
    const auto file = SafeTensors::open(folder_.string());
    return file.ok() ? "no error" : file.error().message;
  }
  fs::path folder_;
};

TEST_F(SafetensorsFile, OpensAFolderAndItsShards) {
  put("model.safetensors", file_bytes("{" + entry("t", "F32", "[1]", "[0,4]") + "}", 4));
  const auto single = SafeTensors::open(folder_.string());
  ASSERT_TRUE(single.ok()) << single.error().message;
  EXPECT_EQ(single->tensors().size(), 1u);
  put("s1", file_bytes("{" + entry("a", "U8", "[1]", "[0,1]") + "}", 1));
  put("s2", file_bytes("{" + entry("b", "U8", "[2]", "[0,2]") + "," +
                           entry("c", "U8", "[1]", "[2,3]") + "}",
                       3));
  put("model.safetensors.index.json",
      R"({"metadata":{"total_size":4},"weight_map":{"c":"s2","a":"s1","b":"s2"}})");
  const auto sharded = SafeTensors::open(folder_.string());
  ASSERT_TRUE(sharded.ok()) << sharded.error().message;
  ASSERT_EQ(sharded->tensors().size(), 3u);
  EXPECT_EQ(sharded->find("c")->data[0], std::byte{2});
}

TEST_F(SafetensorsFile, IndexFaults) {
  put("s1", file_bytes("{" + entry("a", "U8", "[1]", "[0,1]") + "}", 1));
  EXPECT_EQ(index_error(R"({"a":"s1"})"), "no error");
  EXPECT_THAT(index_error(R"({"b":"s1"})"), HasSubstr("'b' is not in 's1'"));
  EXPECT_THAT(index_error(R"({"a":"s9"})"), AllOf(HasSubstr("s9"), HasSubstr("cannot open")));
  EXPECT_THAT(index_error(R"({"a":"../s1"})"), HasSubstr("not a plain file name"))
      << "no way out of the folder";
  EXPECT_THAT(index_error(R"({"a":"/etc/passwd"})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(index_error(R"({"a":""})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(index_error(R"({"a":3})"), HasSubstr("not a plain file name"));
  EXPECT_THAT(index_error(R"({"a":"s1","a":"s1"})"), HasSubstr("twice"));
  EXPECT_THAT(index_error("[]"), HasSubstr("no weight_map"));
}

TEST_F(SafetensorsFile, SaysWhatIsMissing) {
  EXPECT_THAT(SafeTensors::open(folder_.string()).error().message,
              HasSubstr("give a folder that has one"));
  put("pytorch_model.bin", "PK");
  EXPECT_THAT(SafeTensors::open(folder_.string()).error().message, HasSubstr("pickle"));
}

TEST(Safetensors, ReadsAPublishedModel) {
  const auto folder = geist::testing::shared_path("data/models/minimind2-small");
  if (!folder) GTEST_SKIP() << "no data/models/minimind2-small; set GEIST_SHARED";
  const auto file = SafeTensors::open(*folder);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->tensors().size(), 75u);
  EXPECT_EQ(file->find("model.embed_tokens.weight")->shape, (std::vector<int64_t>{6400, 512}));
}

}  // namespace
}  // namespace geist::gguf
