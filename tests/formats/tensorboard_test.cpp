// Tests TensorBoard event files with an independent reader.
#include "formats/tensorboard.h"

#include <cstring>
#include <functional>

#include "core/file.h"
#include "tests/support.h"

namespace rse {
namespace {

// An independent reader of the wire format, which reads only what the test needs.
struct Field {
  int number = 0;
  uint64_t varint = 0;
  std::string bytes;  // content of a fixed or length-delimited field
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

// Returns the events of a TFRecord file, and fails the test where the framing or a checksum is wrong.
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
  // The vectors are those of RFC 3720, appendix B.4.
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

// TensorBoard reads files in the order of their names. From a SessionLog START on it drops the events of
// earlier files that have the same or a later step.
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

// A run that goes on after the clock was set back, or on a machine whose clock is late.
TEST(TensorBoard, NamesSortInTheOrderOfMakingWhateverTheClockSays) {
  for (const char* later :
       {"events.out.tfevents.4000000000.123456.rse.7", "events.out.tfevents.4000000000.host.v2",
        "events.out.tfevents.9999999998.999999.rse.99999"}) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "rse.seed1");
    const std::filesystem::path there = folder / "rse.seed1" / later;
    write_file_atomically(there, "");
    const EventFile first(folder / "rse.seed1", 5);
    const EventFile second(folder / "rse.seed1", 9);
    EXPECT_LT(there, first.path());
    EXPECT_LT(first.path(), second.path());
  }
}

TEST(TensorBoard, OtherFilesOfTheFolderDoNotCount) {
  const TemporaryFolder folder;
  for (const char* name :
       {"notes.txt", "events.out.tfevents.", "events.out.tfevents.abc", "events.out.tfevents.99"}) {
    write_file_atomically(folder / name, "");
  }
  const EventFile file(folder.path(), 1);
  EXPECT_LT(file.path().filename(), "events.out.tfevents.4000000000");
}

}  // namespace
}  // namespace rse
