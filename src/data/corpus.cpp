#include "data/corpus.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/utf8.h"

namespace rse {
namespace {

constexpr size_t kLongestJsonLine = size_t{1} << 28;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::string_view kBlank = " \t\r\n\v\f";

bool is_blank(std::string_view text) { return text.find_first_not_of(kBlank) == std::string_view::npos; }

// Fills in what the name tells. Returns true where its ending is a known one.
bool classify(CorpusFile& file) {
  std::filesystem::path name = file.path.filename();
  file.compressed = name.extension() == ".zst";
  if (file.compressed) name = name.stem();
  const std::filesystem::path ending = name.extension();
  file.json_lines = ending == ".jsonl" || ending == ".ndjson";
  return file.json_lines || ending == ".txt" || ending == ".text";
}

std::vector<CorpusFile> files_below(const std::filesystem::path& folder) {
  std::vector<CorpusFile> files;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(folder, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    std::error_code unreadable;
    CorpusFile file{.path = entry->path()};
    if (!classify(file) || entry->is_directory(unreadable)) continue;
    if (!entry->is_regular_file(unreadable)) {
      throw_user_error("{}: expected a file, or a link to one", file.path.string());
    }
    file.bytes = entry->file_size();
    files.push_back(std::move(file));
  }
  if (error) throw_user_error("cannot read folder {}: {}", folder.string(), error.message());
  if (files.empty()) {
    throw_user_error("{}: no corpus files in this folder: expected .txt, .jsonl, .ndjson, or these with .zst",
                     folder.string());
  }
  std::sort(files.begin(), files.end(),
            [](const CorpusFile& a, const CorpusFile& b) { return a.path < b.path; });
  return files;
}

}  // namespace

std::vector<CorpusFile> list_corpus_files(const std::vector<std::filesystem::path>& inputs) {
  std::vector<CorpusFile> files;
  for (const std::filesystem::path& input : inputs) {
    std::error_code error;
    const auto status = std::filesystem::status(input, error);
    if (status.type() == std::filesystem::file_type::not_found) {
      throw_user_error("{}: no such file or folder", input.string());
    }
    if (error) throw_user_error("cannot read {}: {}", input.string(), error.message());
    if (std::filesystem::is_character_file(status) || std::filesystem::is_block_file(status)) {
      throw_user_error("{}: a device: expected a file, a folder or a pipe", input.string());
    }
    if (std::filesystem::is_directory(status)) {
      for (CorpusFile& file : files_below(input)) files.push_back(std::move(file));
      continue;
    }
    CorpusFile file{.path = input};
    classify(file);
    if (std::filesystem::is_regular_file(status)) file.bytes = std::filesystem::file_size(input);
    files.push_back(std::move(file));
  }
  return files;
}

CorpusReader::CorpusReader(const std::vector<std::filesystem::path>& inputs, CorpusOptions options)
    : options_(std::move(options)), files_(list_corpus_files(inputs)) {
  if (files_.empty()) throw_user_error("no corpus given: expected files or folders");
  for (const CorpusFile& file : files_) bytes_total_ += file.bytes;
}

uint64_t CorpusReader::bytes_read() const {
  return bytes_of_finished_files_ + (lines_ != nullptr ? lines_->bytes_read() : 0);
}

std::string CorpusReader::where() const {
  return fmt::format("{}:{}", files_[next_file_ - 1].path.string(), lines_->line_number());
}

bool CorpusReader::open_next_file() {
  if (lines_ != nullptr) bytes_of_finished_files_ += lines_->bytes_read();
  lines_.reset();
  if (next_file_ == files_.size()) return false;
  const CorpusFile& file = files_[next_file_++];
  lines_ = std::make_unique<LineReader>(file.path, file.compressed);
  return true;
}

bool CorpusReader::next(std::string& text) {
  while (lines_ != nullptr || open_next_file()) {
    if (!next_in_file(text)) {
      if (!open_next_file()) break;
      continue;
    }
    if (!is_blank(text)) {
      ++documents_;
      return true;
    }
    ++skipped_;
  }
  if (documents_ == 0) {
    throw_user_error("{}: no text in the corpus ({} files, {} blank documents)", files_.front().path.string(),
                     files_.size(), skipped_);
  }
  return false;
}

bool CorpusReader::next_in_file(std::string& text) {
  return files_[next_file_ - 1].json_lines ? next_json(text) : next_text(text);
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
    if (lines_->line_number() == 1 && line_.starts_with(kByteOrderMark))
      line_.erase(0, kByteOrderMark.size());
    if (is_blank(line_)) continue;
    check_text(line_);
    text = json_text(line_);
    return true;
  }
  return false;
}

std::string CorpusReader::json_text(const std::string& line) const {
  nlohmann::json object;
  try {
    object = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    throw_user_error("{}: not JSON (at byte {} of the line): expected one object per line", where(),
                     error.byte);
  } catch (const nlohmann::json::out_of_range&) {
    throw_user_error("{}: a number beyond the range of a double: expected one that fits", where());
  }
  if (!object.is_object()) throw_user_error("{}: a JSON {}: expected an object", where(), object.type_name());
  const auto field = object.find(options_.field);
  if (field == object.end()) throw_user_error("{}: no field '{}' in this object", where(), options_.field);
  if (!field->is_string()) {
    throw_user_error("{}: field '{}' is a {}: expected a string", where(), options_.field,
                     field->type_name());
  }
  return std::move(field->get_ref<std::string&>());
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
    if (!complete) {  // an endless line ends after its last space, or else between two characters
      const size_t space = line_.rfind(' ');
      const size_t cut = space != std::string::npos ? space + 1 : utf8_border_before(line_, line_.size() - 1);
      carried_ = line_.substr(cut);
      line_.resize(cut);
    }
    check_text(line_);
    const bool separates = options_.separator == DocumentSeparator::kBlankLine && complete && is_blank(line_);
    if (separates && !text.empty()) return true;
    if (separates) continue;
    text += line_;
    if (complete) text += '\n';
  }
  return !text.empty();
}

}  // namespace rse
