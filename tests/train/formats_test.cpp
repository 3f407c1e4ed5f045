// File formats written by hand: safetensors, TensorBoard event files; and the schedule's values.
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>

#include "core/file.h"
#include "tests/support.h"
#include "train/safetensors.h"
#include "train/schedule.h"
#include "train/tensorboard.h"

namespace rse {
namespace {

// A safetensors file with the given header text and data bytes.
void write_raw(const std::filesystem::path& path, const std::string& header, size_t data_bytes) {
  std::ofstream file(path, std::ios::binary);
  const uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file << header << std::string(data_bytes, '\0');
}

TEST(Safetensors, RoundTripKeepsBitsShapesAndMetadata) {
  const TemporaryFolder folder;
  const torch::Tensor nan = torch::tensor({std::nanf(""), -0.0f, 1e-42f});
  const NamedTensors tensors = {{"a.weight", torch::arange(12).reshape({3, 4}).t()},
                                {"b", nan},
                                {"half", torch::ones({3}, torch::kBFloat16)},
                                {"empty", torch::zeros({2, 0})},
                                {"scalar", torch::tensor(3.0f)}};
  write_safetensors(folder / "x.safetensors", tensors, {{"key", "value \"quoted\""}});
  const SafetensorsContent content = read_safetensors(folder / "x.safetensors");
  ASSERT_EQ(content.tensors.size(), tensors.size());
  EXPECT_EQ(content.metadata.at("key"), "value \"quoted\"");
  for (const auto& [name, tensor] : tensors) {
    const torch::Tensor found = expect_tensor(content, name, tensor, "x");
    const torch::Tensor expected = tensor.contiguous();
    EXPECT_EQ(std::memcmp(found.const_data_ptr(), expected.const_data_ptr(), expected.nbytes()), 0) << name;
  }
  EXPECT_THAT([&] { expect_tensor(content, "b", torch::zeros({4}), "x.safetensors"); },
              ThrowsUserError("tensor 'b' is F32 [3], expected F32 [4]"));
  EXPECT_THAT([&] { expect_tensor(content, "c", nan, "x.safetensors"); }, ThrowsUserError("'c' is missing"));
}

TEST(Safetensors, DamagedFilesAreOneClearError) {
  const TemporaryFolder folder;
  const auto path = folder / "bad.safetensors";
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  const std::vector<std::tuple<std::string, size_t, std::string>> cases = {
      {"not json", 0, "expected a JSON object"},
      {"[1]", 0, "expected a JSON object"},
      {R"({"t":{"dtype":"F32"}})", 0, "expected dtype, shape and two data_offsets"},
      {entry("F13", "[2]", "[0,8]"), 8, "unknown dtype 'F13'"},
      {entry("F32", "[2]", "[0,7]"), 8, "expected 8 bytes"},
      {entry("F32", "[2]", "[8,0]"), 8, "expected 8 bytes"},
      {entry("F32", "[-2]", "[0,8]"), 8, "expected a whole number of at least 0"},
      {entry("F32", "[2.5]", "[0,8]"), 8, "expected a whole number of at least 0"},
      {entry("F32", "[4294967296,4294967296]", "[0,0]"), 0, "too large"},
      {entry("F32", "[2]", "[4,12]"), 12, "begins at 4, expected 0"},
      {entry("F32", "[2]", "[0,8]"), 4, "data section of 4 bytes, expected 8"},
      {entry("F32", "[2]", "[0,8]"), 9, "data section of 9 bytes, expected 8"},
      {R"({"__metadata__":{"a":1}})", 0, "expected a map of strings"},
      {R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
       4, "written twice"},
  };
  for (const auto& [header, bytes, message] : cases) {
    write_raw(path, header, bytes);
    EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError(message)) << header;
    EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError("bad.safetensors")) << header;
  }
  std::ofstream(path, std::ios::binary) << "1234567";
  EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError("7 bytes"));
  std::ofstream(path, std::ios::binary) << std::string(8, '\xff') << "{}";
  EXPECT_THAT([&] { read_safetensors(path); }, ThrowsUserError("header length 18446744073709551615"));
}

// An independent reader of the wire format: only what the test needs.
struct Field {
  int number = 0;
  uint64_t varint = 0;
  std::string bytes;  // of fixed and length-delimited fields
};

uint64_t take_varint(const std::string& data, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(data.at(at++));
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

std::vector<Field> parse_message(const std::string& data) {
  std::vector<Field> fields;
  for (size_t at = 0; at < data.size();) {
    Field field;
    const uint64_t key = take_varint(data, at);
    field.number = static_cast<int>(key >> 3);
    const uint64_t type = key & 7;
    if (type == 0) {
      field.varint = take_varint(data, at);
    } else {
      const size_t size = type == 1 ? 8 : type == 5 ? 4 : take_varint(data, at);
      field.bytes = data.substr(at, size);
      at += size;
    }
    fields.push_back(field);
  }
  return fields;
}

std::string field_bytes(const std::string& message, int number) {
  for (const Field& field : parse_message(message)) {
    if (field.number == number) return field.bytes;
  }
  return "";
}

// The events of a TFRecord file; fails the test where framing or a checksum is wrong.
std::vector<std::string> read_records(const std::filesystem::path& path) {
  const std::string data = read_file(path);
  std::vector<std::string> events;
  for (size_t at = 0; at < data.size();) {
    uint64_t length = 0;
    uint32_t length_crc = 0, data_crc = 0;
    std::memcpy(&length, data.data() + at, 8);
    std::memcpy(&length_crc, data.data() + at + 8, 4);
    EXPECT_EQ(length_crc, masked_crc32c(&length, 8));
    events.push_back(data.substr(at + 12, length));
    std::memcpy(&data_crc, data.data() + at + 12 + length, 4);
    EXPECT_EQ(data_crc, masked_crc32c(events.back().data(), length));
    at += 16 + length;
  }
  return events;
}

TEST(TensorBoard, ChecksumMatchesPublishedVectors) {
  // RFC 3720, appendix B.4.
  const std::string zeros(32, '\0'), ones(32, '\xff');
  EXPECT_EQ(crc32c(zeros.data(), 32), 0x8a9136aau);
  EXPECT_EQ(crc32c(ones.data(), 32), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789", 9), 0xe3069283u);
}

TEST(TensorBoard, EventsParseBack) {
  const TemporaryFolder folder;
  std::filesystem::path path;
  {
    EventFile file(folder / "rse.seed1", 1);
    path = file.path();
    file.scalar("train/loss", 300, 2.5);
    file.scalar("lambda/layer_00/head_01", int64_t{1} << 40, -0.125);
  }
  EXPECT_THAT(path.filename().string(), testing::HasSubstr("tfevents"));
  const std::vector<std::string> events = read_records(path);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(field_bytes(events[0], 3), "brain.Event:2");
  const std::vector<std::tuple<std::string, uint64_t, float>> expected = {
      {"train/loss", 300, 2.5f}, {"lambda/layer_00/head_01", uint64_t{1} << 40, -0.125f}};
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string& event = events[i + 1];
    const std::vector<Field> fields = parse_message(event);
    EXPECT_EQ(field_bytes(event, 1).size(), 8u);
    EXPECT_EQ(fields.at(1).number, 2);
    EXPECT_EQ(fields.at(1).varint, std::get<1>(expected[i]));
    const std::string value = field_bytes(field_bytes(event, 5), 1);
    EXPECT_EQ(field_bytes(value, 1), std::get<0>(expected[i]));
    float scalar = 0;
    std::memcpy(&scalar, field_bytes(value, 2).data(), 4);
    EXPECT_EQ(scalar, std::get<2>(expected[i]));
  }
}

// TensorBoard drops events of earlier files from the step of a SessionLog START on, and reads files in the
// order of their names.
TEST(TensorBoard, AFileOfARunThatGoesOnBeginsWithItsFirstStep) {
  const TemporaryFolder folder;
  const EventFile first(folder / "rse.seed1", 1);
  EventFile second(folder / "rse.seed1", 18);
  second.scalar("train/loss", 18, 2.5);
  second.flush();
  EXPECT_LT(first.path(), second.path());
  const std::vector<std::string> events = read_records(second.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(parse_message(events[1]).at(1).varint, 18u);                 // step
  EXPECT_EQ(parse_message(field_bytes(events[1], 7)).at(0).varint, 1u);  // session_log.status: START
  EXPECT_EQ(field_bytes(events[2], 7), "");
}

TEST(Schedule, WarmsUpThenDecays) {
  const Schedule linear{ScheduleShape::kLinear, 4, 12, 0.0};
  EXPECT_DOUBLE_EQ(linear.factor(0), 0.25);
  EXPECT_DOUBLE_EQ(linear.factor(3), 1.0);
  EXPECT_DOUBLE_EQ(linear.factor(4), 1.0);
  EXPECT_DOUBLE_EQ(linear.factor(8), 0.5);
  EXPECT_DOUBLE_EQ(linear.factor(11), 0.125);
  const Schedule cosine{ScheduleShape::kCosine, 0, 10, 0.1};
  EXPECT_DOUBLE_EQ(cosine.factor(0), 1.0);
  EXPECT_NEAR(cosine.factor(5), 0.55, 1e-12);
  EXPECT_GT(cosine.factor(9), 0.1);
  const Schedule short_run{ScheduleShape::kLinear, 100, 10, 0.0};  // ends inside the warm-up
  EXPECT_DOUBLE_EQ(short_run.factor(9), 0.1);
}

}  // namespace
}  // namespace rse
