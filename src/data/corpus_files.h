// Lists the files of a corpus, and says what is left out of folders and why.
//
// A file that is named itself is always taken. From a folder, recursively and in the order of paths, these are:
// files with a known ending (data/corpus_format.h), also of a link to a file, and files whose name ends in a
// number where their content is text. Hidden files and folders, links to folders, and files with another
// ending are left out and counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/byte_source.h"
#include "data/corpus_format.h"

namespace rse {

struct CorpusFile {
  std::filesystem::path path;
  uint64_t bytes = 0;  // of the file as it lies on disk; of a pipe, those read
  // What follows is known when the file has been opened, the counts and the hash when it has been read.
  TextFormat format = TextFormat::kAuto;
  Compression compression = Compression::kNone;
  bool by_content = false;            // the content decided the format
  bool text_like_json_lines = false;  // read as text because of its ending, but it looks like JSON lines
  uint64_t documents = 0;
  uint64_t hash = 0;  // xxh64 of the file's bytes
};

struct LeftOut {
  std::string reason;
  std::vector<std::filesystem::path> paths;  // in order
};

struct CorpusListing {
  std::vector<CorpusFile> files;
  std::vector<LeftOut> left_out;  // by reason, without those of no paths
};

// What `inputs` stand for. UserError where one is missing or a device, and where a folder holds nothing
// readable, or something with the name of a corpus file that is not a file. A pipe may be named itself.
CorpusListing list_corpus(const std::vector<std::filesystem::path>& inputs);

}  // namespace rse
