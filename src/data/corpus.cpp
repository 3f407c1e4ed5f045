#include "data/corpus.h"

#include <utility>

#include "core/check.h"
#include "core/utf8.h"
#include "data/json_text.h"
#include "data/visible_text.h"

namespace rse {
namespace {

constexpr size_t kLongestJsonLine = size_t{1} << 28;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlank = " \t\r\n\v\f";

// The index after the last white space, so that it does not part a word; else that of a character's border.
size_t cut_of_endless_line(std::string_view line) {
  const size_t space = last_white_space(line);
  if (space == std::string_view::npos) return utf8_border_before(line, line.size() - 1);
  return space + white_space_bytes(line.substr(space));
}

}  // namespace

const EnumNames<DocumentSeparator>& document_separator_names() {
  static const EnumNames<DocumentSeparator> names = {{"none", DocumentSeparator::kNone},
                                                     {"blank-line", DocumentSeparator::kBlankLine}};
  return names;
}

CorpusReader::CorpusReader(const std::vector<std::filesystem::path>& inputs, CorpusOptions options)
    : options_(std::move(options)), listing_(list_corpus(inputs)) {
  if (listing_.files.empty()) throw_user_error("no corpus given: expected files or folders");
  for (const CorpusFile& file : listing_.files) bytes_total_ += file.bytes;
}

uint64_t CorpusReader::bytes_read() const {
  return bytes_of_finished_files_ + (lines_ != nullptr ? lines_->source().bytes_read() : 0);
}

std::string CorpusReader::where() const {
  return fmt::format("{}:{}", listing_.files[next_file_ - 1].path.string(), lines_->line_number());
}

void CorpusReader::close_file() {
  if (lines_ == nullptr) return;
  CorpusFile& file = listing_.files[next_file_ - 1];
  file.bytes = lines_->source().bytes_read();
  file.hash = lines_->source().hash();
  bytes_of_finished_files_ += file.bytes;
  lines_.reset();
}

bool CorpusReader::open_next_file() {
  close_file();
  if (next_file_ == listing_.files.size()) return false;
  CorpusFile& file = listing_.files[next_file_++];
  lines_ = std::make_unique<LineReader>(file.path);
  const std::string_view head = lines_->head();
  file.compression = lines_->source().compression();
  file.format = decide_format(file.path, head, options_.format);
  const bool decided = options_.format != TextFormat::kAuto;
  file.by_content = !decided && describe_name(file.path).format == TextFormat::kAuto;
  file.text_like_json_lines = !decided && file.format == TextFormat::kText && looks_like_json_lines(head);
  if (opened_) opened_(file);
  return true;
}

bool CorpusReader::next(std::string& text) {
  while (lines_ != nullptr || open_next_file()) {
    if (!next_in_file(text)) {
      if (!open_next_file()) break;
      continue;
    }
    if (has_visible_character(text)) {
      ++documents_;
      ++listing_.files[next_file_ - 1].documents;
      return true;
    }
    ++skipped_;
  }
  if (documents_ == 0) {
    throw_user_error("{}: no text in the corpus ({} files, {} blank documents)",
                     listing_.files.front().path.string(), listing_.files.size(), skipped_);
  }
  return false;
}

bool CorpusReader::next_in_file(std::string& text) {
  return listing_.files[next_file_ - 1].format == TextFormat::kJsonLines ? next_json(text) : next_text(text);
}

void CorpusReader::check_text(const std::string& line) const {
  if (const size_t nul = line.find('\0'); nul != std::string::npos) {
    throw_user_error("{}: not text: a NUL byte at byte {} of the line", where(), nul + 1);
  }
  const size_t position = utf8_error_position(line);
  if (position == line.size()) return;
  throw_user_error("{}: not UTF-8: byte 0x{:02X} at byte {} of the line", where(),
                   static_cast<unsigned char>(line[position]), position + 1);
}

bool CorpusReader::next_json(std::string& text) {
  while (lines_->next(line_, kLongestJsonLine)) {
    if (!lines_->line_complete()) {
      throw_user_error("{}: a line of over {} bytes: expected shorter documents", where(), kLongestJsonLine);
    }
    // Files that were joined have byte order marks in their middle, too.
    if (line_.starts_with(kByteOrderMark)) line_.erase(0, kByteOrderMark.size());
    if (line_.find_first_not_of(kBlank) == std::string::npos) continue;
    check_text(line_);
    replaced_ += replace_bad_escapes(line_);
    text = json_text(line_, options_.field, [this] { return where(); });
    return true;
  }
  return false;
}

// Reads lines up to a separator, the end of the file, or the first border beyond longest_text_document.
bool CorpusReader::next_text(std::string& text) {
  text.clear();
  while (text.size() < options_.longest_text_document) {
    const bool starts_file = lines_->line_number() == 0;
    const bool read = lines_->next(line_, options_.longest_text_document);
    if (starts_file && line_.starts_with(kByteOrderMark)) line_.erase(0, kByteOrderMark.size());
    line_.insert(0, std::exchange(carried_, {}));
    if (!read && line_.empty()) break;
    const bool complete = lines_->line_complete();
    if (!complete) {
      const size_t cut = cut_of_endless_line(line_);
      carried_ = line_.substr(cut);
      line_.resize(cut);
    }
    check_text(line_);
    const bool separates =
        options_.separator == DocumentSeparator::kBlankLine && complete && !has_visible_character(line_);
    if (separates && !text.empty()) return true;
    if (separates) continue;
    text += line_;
    if (complete) text += '\n';
  }
  return !text.empty();
}

}  // namespace rse
