// The manifest of token files: which corpus files they were made from, as JSON.
//
// It is a function of the inputs and options alone, so that two manifests can be compared.
#pragma once

#include <string>
#include <vector>

#include "data/corpus.h"

namespace rse {

// One output, and the corpus that was read to its end for it.
struct ManifestEntry {
  std::string output;  // the file's name, without its folder
  std::string hash;    // of the output: the tokenizer's, or the fingerprint of a token file
  CorpusListing listing;
  uint64_t documents = 0;
  uint64_t skipped = 0;   // blank documents
  uint64_t replaced = 0;  // escapes that became U+FFFD
};

ManifestEntry manifest_entry(const std::string& output, const std::string& hash, const CorpusReader& corpus);

std::string manifest_text(const std::vector<ManifestEntry>& entries, const CorpusOptions& options);

}  // namespace rse
