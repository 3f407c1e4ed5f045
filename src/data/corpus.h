// Reads a corpus, files of documents, one document at a time.
//
// Inputs are text files, JSON lines (.jsonl or .ndjson: one object per line, its text in one field), both of
// them also compressed with zstd (.zst), and folders of these, taken recursively in the order of their names.
// A file that is named itself and has another ending is text. A text file is one document, or each of its
// paragraphs between blank lines is; a text document beyond longest_text_document is cut at a line border.
// Documents without a visible character are skipped. One document is in memory at a time. Errors are
// UserErrors that begin with "FILE:LINE:" where a line is at fault: text that is not UTF-8 or holds a NUL
// byte (as UTF-16 does), or a JSON line without the field. Order of calls: CorpusReader -> next() until it
// returns false.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/line_reader.h"

namespace rse {

enum class DocumentSeparator { kNone, kBlankLine };

struct CorpusOptions {
  std::string field = "text";                              // of JSON lines that holds the text
  DocumentSeparator separator = DocumentSeparator::kNone;  // in text files
  size_t longest_text_document = size_t{16} << 20;         // bytes
};

struct CorpusFile {
  std::filesystem::path path;
  uint64_t bytes = 0;
  bool json_lines = false;
  bool compressed = false;
};

// The files that `inputs` stand for. UserError where one is missing or a device, and where a folder holds
// nothing readable, or something with the name of a corpus file that is not a file. A pipe may be named
// itself.
std::vector<CorpusFile> list_corpus_files(const std::vector<std::filesystem::path>& inputs);

class CorpusReader {
 public:
  CorpusReader(const std::vector<std::filesystem::path>& inputs, CorpusOptions options);

  // Reads the next document, valid UTF-8; returns false after the last. UserError where the corpus has none.
  bool next(std::string& text);

  uint64_t bytes_total() const { return bytes_total_; }  // of all files as they lie on disk
  uint64_t bytes_read() const;
  uint64_t documents() const { return documents_; }  // returned so far
  uint64_t skipped() const { return skipped_; }      // blank documents passed over so far

 private:
  bool open_next_file();
  bool next_in_file(std::string& text);
  bool next_json(std::string& text);
  bool next_text(std::string& text);
  std::string json_text(const std::string& line) const;
  void check_text(const std::string& line) const;  // throws unless it is UTF-8 without NUL bytes
  std::string where() const;                       // "FILE:LINE"

  CorpusOptions options_;
  std::vector<CorpusFile> files_;
  size_t next_file_ = 0;
  std::unique_ptr<LineReader> lines_;  // of files_[next_file_ - 1]
  std::string line_, carried_;         // carried_: the cut-off end of an overlong line
  uint64_t bytes_total_ = 0, bytes_of_finished_files_ = 0;
  uint64_t documents_ = 0, skipped_ = 0;
};

}  // namespace rse
