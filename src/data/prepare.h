// Makes files for training from text, as rse-data does, with progress and log lines.
//
// Invariants: every output appears complete or not at all, and all outputs of prepare() together; no output
// replaces a file that is read. Errors are UserErrors.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "data/corpus_encoder.h"
#include "data/tokenizer.h"
#include "data/tokenizer_trainer.h"

namespace rse {

using Paths = std::vector<std::filesystem::path>;

// Trains a tokenizer on the corpus and writes its model to `output`, and beside it OUTPUT.manifest.json, which
// lists the files of the corpus (data/manifest.h).
void make_tokenizer(const Paths& inputs, const CorpusOptions& corpus, const TokenizerOptions& options,
                    const std::filesystem::path& output);

// Encodes the corpus by the tokenizer of the file `model` into the token file `output`, with a manifest beside
// it as above.
void make_token_file(const Paths& inputs, const CorpusOptions& corpus, const std::filesystem::path& model,
                     const EncodingOptions& options, const std::filesystem::path& output);

struct PrepareRequest {
  Paths train, valid, test;  // valid and test may be empty
  CorpusOptions corpus;
  TokenizerOptions tokenizer;
  EncodingOptions encoding;
  std::filesystem::path output;  // folder, made where it is missing
};

// Makes tokenizer.model (from `train`), train.bin, valid.bin and test.bin where they have inputs, and
// manifest.json.
void prepare(const PrepareRequest& request);

// Describes a token file, one "key: value" per line. verify: also read all of it and compare the checksums.
std::string describe(const TokenFile& file, bool verify);

}  // namespace rse
