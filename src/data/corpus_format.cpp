#include "data/corpus_format.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/utf8.h"
#include "data/byte_source.h"

namespace rse {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlank = " \t\r\n\v\f";

struct Magic {
  std::string_view bytes;
  const char* name;
};

// The beginnings of files that are often found where text is expected.
constexpr Magic kBinaries[] = {
    {"PAR1"sv, "a Parquet file"},
    {"ARROW1"sv, "an Arrow file"},
    {"\xFF\xFF\xFF\xFF"sv, "an Arrow stream"},
    {"Obj\x01"sv, "an Avro file"},
    {"ORC"sv, "an ORC file"},
    {"\x89HDF"sv, "an HDF5 file"},
    {"\x93NUMPY"sv, "a NumPy file"},
    {"SQLite format 3"sv, "an SQLite database"},
    {"PK\x03\x04"sv, "a ZIP archive"},
    {"%PDF-"sv, "a PDF document"},
    {"\xD0\xCF\x11\xE0"sv, "an Office document"},
    {"BZh"sv, "bzip2 data"},
    {"\xFD"
     "7zXZ"sv,
     "xz data"},
    {"7z\xBC\xAF"sv, "a 7-Zip archive"},
    {"\x04\x22\x4D\x18"sv, "lz4 data"},
    {"\x1F\x8B"sv, "gzip data within compressed data"},
    {"\x28\xB5\x2F\xFD"sv, "zstd data within compressed data"},
    {"\x89PNG"sv, "a PNG image"},
    {"\xFF\xD8\xFF"sv, "a JPEG image"},
    {"GIF8"sv, "a GIF image"},
    {"RIFF"sv, "a RIFF file"},
    {"\x7F"
     "ELF"sv,
     "a program"},
    {"RSETOK1\0"sv, "a token file"},
};
constexpr size_t kTarMagic = 257;

const char* binary_name(std::string_view head) {
  for (const Magic& magic : kBinaries) {
    if (head.starts_with(magic.bytes)) return magic.name;
  }
  if (head.size() > kTarMagic && head.substr(kTarMagic).starts_with("ustar")) return "a tar archive";
  return nullptr;
}

const char* wide_encoding_name(std::string_view head) {
  if (head.starts_with("\xFF\xFE\0\0"sv) || head.starts_with("\0\0\xFE\xFF"sv)) return "UTF-32";
  if (head.starts_with("\xFF\xFE"sv) || head.starts_with("\xFE\xFF"sv)) return "UTF-16";
  return nullptr;
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Follows the parser without building values, and remembers where it stopped.
class JsonProbe : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    stopped_at_ = position;
    return false;
  }
  size_t stopped_at() const { return stopped_at_; }

 private:
  size_t stopped_at_ = 0;
};

enum class Json { kNone, kBeginning, kWhole };

// Whether `text` is JSON, or the beginning of some.
Json probe(std::string_view text) {
  JsonProbe probe;
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &probe)) return Json::kWhole;
  return probe.stopped_at() > text.size() ? Json::kBeginning : Json::kNone;
}

std::string_view without_blanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlank);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

// Whether `text` begins as an object with a field does: {"name":
bool starts_object(std::string_view text) {
  text = without_blanks(text.substr(1));
  if (!text.starts_with('"')) return false;
  size_t end = 1;
  while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  if (end >= text.size()) return probe(text) == Json::kBeginning;  // the name goes on after the first bytes
  return without_blanks(text.substr(end + 1)).starts_with(':');
}

enum class Content { kText, kJsonLines, kJsonDocument };

Content content_of(std::string_view head) {
  if (head.starts_with(kByteOrderMark)) head.remove_prefix(kByteOrderMark.size());
  head = without_blanks(head);
  if (!head.starts_with('{') && !head.starts_with('[')) return Content::kText;
  const size_t line_feed = head.find('\n');
  const std::string_view line = head.substr(0, line_feed);
  const Json first_line = probe(line);
  if (head.starts_with('{')) {
    if (first_line == Json::kWhole) return Content::kJsonLines;
    if (!starts_object(head)) return Content::kText;
    const bool goes_on = line_feed != std::string_view::npos && probe(head) != Json::kNone;
    return goes_on ? Content::kJsonDocument : Content::kJsonLines;
  }
  if (first_line == Json::kWhole) {
    const std::string_view rest = without_blanks(head.substr(line.size()));
    return rest.empty()            ? Content::kJsonDocument
           : rest.starts_with('[') ? Content::kJsonLines
                                   : Content::kText;
  }
  return first_line == Json::kBeginning && probe(head) != Json::kNone ? Content::kJsonDocument
                                                                      : Content::kText;
}

}  // namespace

const EnumNames<TextFormat>& text_format_names() {
  static const EnumNames<TextFormat> names = {
      {"auto", TextFormat::kAuto}, {"text", TextFormat::kText}, {"jsonl", TextFormat::kJsonLines}};
  return names;
}

FileName describe_name(const std::filesystem::path& path) {
  std::filesystem::path name = path.filename();
  if (compression_of_name(name) != Compression::kNone) name = name.stem();
  FileName described;
  described.ending = lower_case(name.extension().string());
  const std::string& ending = described.ending;
  if (ending == ".txt" || ending == ".text") described.format = TextFormat::kText;
  if (ending == ".jsonl" || ending == ".ndjson" || ending == ".json")
    described.format = TextFormat::kJsonLines;
  const std::string whole = name.string();
  described.numbered = !whole.empty() && is_digit(whole.back()) && (ending.size() < 2 || is_digit(ending[1]));
  return described;
}

bool looks_like_json_lines(std::string_view head) { return content_of(head) == Content::kJsonLines; }

bool looks_like_text(std::string_view head) {
  constexpr size_t kLongestCharacter = 4;  // the last one may be cut
  return head.find('\0') == std::string_view::npos &&
         utf8_error_position(head) + kLongestCharacter > head.size();
}

TextFormat decide_format(const std::filesystem::path& path, std::string_view head, TextFormat wanted) {
  if (!looks_like_text(head)) {
    if (const char* name = wide_encoding_name(head)) {
      throw_user_error("{}:1: not UTF-8: {} by its byte order mark: expected UTF-8 (iconv -t UTF-8)",
                       path.string(), name);
    }
    if (const char* name = binary_name(head)) {
      throw_user_error("{}: {}: expected text or JSON lines, plain or compressed with gzip or zstd",
                       path.string(), name);
    }
  }
  if (wanted != TextFormat::kAuto) return wanted;
  const FileName name = describe_name(path);
  if (name.ending == ".csv" || name.ending == ".tsv") {
    throw_user_error("{}: a table: expected text or JSON lines (--format text reads it as it is)",
                     path.string());
  }
  if (name.format == TextFormat::kText || name.ending == ".jsonl" || name.ending == ".ndjson") {
    return name.format;
  }
  const Content content = content_of(head);
  if (content == Content::kJsonDocument) {
    throw_user_error("{}: one JSON {}: expected JSON lines, one object per line{}", path.string(),
                     without_blanks(head).starts_with('[') ? "array" : "object over several lines",
                     name.format == TextFormat::kAuto ? " (--format text reads it as text)" : "");
  }
  if (name.format != TextFormat::kAuto) return name.format;
  return content == Content::kJsonLines ? TextFormat::kJsonLines : TextFormat::kText;
}

}  // namespace rse
