// Reads a corpus, files of documents, one document at a time.
//
// Inputs are text files and JSON lines (one object per line, its text in one field), plain or compressed with
// gzip or zstd, and folders of these (data/corpus_files.h). A text file is one document, or each of its
// paragraphs between blank lines is; a text document beyond longest_text_document is cut at a line border.
// Documents and lines without a visible character (data/visible_text.h) are blank, and blank documents are
// skipped. One document is in memory at a time. Errors are UserErrors that begin with "FILE:LINE:" where a
// line is at fault: text that is not UTF-8 or holds a NUL byte (as UTF-16 does), or a JSON line without the
// field. Order of calls: CorpusReader -> [on_open()] -> next() until it returns false.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "data/corpus_files.h"
#include "data/corpus_format.h"
#include "data/line_reader.h"

namespace rse {

enum class DocumentSeparator { kNone, kBlankLine };
const EnumNames<DocumentSeparator>& document_separator_names();

struct CorpusOptions {
  TextFormat format = TextFormat::kAuto;                   // of every file
  std::string field = "text";                              // of JSON lines that holds the text
  DocumentSeparator separator = DocumentSeparator::kNone;  // in text files
  size_t longest_text_document = size_t{16} << 20;         // bytes
};

class CorpusReader {
 public:
  CorpusReader(const std::vector<std::filesystem::path>& inputs, CorpusOptions options);

  // `opened` is called for every file when it is clear how it is read, on the thread that calls next().
  void on_open(std::function<void(const CorpusFile&)> opened) { opened_ = std::move(opened); }

  // Reads the next document, valid UTF-8; returns false after the last. UserError where the corpus has none.
  bool next(std::string& text);

  uint64_t bytes_total() const { return bytes_total_; }  // of all files as they lie on disk
  uint64_t bytes_read() const;
  uint64_t documents() const { return documents_; }  // returned so far
  uint64_t skipped() const { return skipped_; }      // blank documents passed over so far
  // Escapes of JSON that stand for no character, and became U+FFFD, so far.
  uint64_t replaced() const { return replaced_; }
  // The files, and what was left out of folders. What was found in a file is known when it has been read.
  const CorpusListing& listing() const { return listing_; }

 private:
  bool open_next_file();
  void close_file();
  bool next_in_file(std::string& text);
  bool next_json(std::string& text);
  bool next_text(std::string& text);
  void check_text(const std::string& line) const;  // throws unless it is UTF-8 without NUL bytes
  std::string where() const;                       // "FILE:LINE"

  CorpusOptions options_;
  CorpusListing listing_;
  std::function<void(const CorpusFile&)> opened_;
  size_t next_file_ = 0;
  std::unique_ptr<LineReader> lines_;  // of the file before next_file_
  std::string line_, carried_;         // carried_: the cut-off end of an overlong line
  uint64_t bytes_total_ = 0, bytes_of_finished_files_ = 0;
  uint64_t documents_ = 0, skipped_ = 0, replaced_ = 0;
};

}  // namespace rse
