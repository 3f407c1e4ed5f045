// rse-data makes tokenizers and token files from text. data/README.md shows its use.
#include <CLI/CLI.hpp>

#include "apps/parse_flags.h"
#include "core/check.h"
#include "core/logging.h"
#include "data/prepare.h"

namespace {

using namespace rse;

void add_corpus_options(CLI::App* command, CorpusOptions& options) {
  add_choice(*command, "--format", options.format, text_format_names(),
             "how files are read (default: as names or content say)");
  add_text(*command, "--field", options.field, "field of JSON lines that holds the text (default: text)");
  add_choice(*command, "--document-separator", options.separator, document_separator_names(),
             "what divides text files into documents (none)");
}

void add_tokenizer_options(CLI::App& command, TokenizerOptions& options) {
  add_number(command, "--vocab-size", options.vocab_size, kVocabularyRange, "number of pieces");
  add_number(command, "--sample-bytes", options.sample_bytes, kSampleRange, "bytes to train on");
  add_number(command, "--character-coverage", options.character_coverage, kCoverageRange,
             "share of characters with a piece");
  add_number(command, "--seed", options.seed, at_least<int64_t>(0), "seed of the sample");
}

void add_encoding_options(CLI::App* command, EncodingOptions& options) {
  add_number(*command, "--threads", options.threads, kEncodingThreads, "0: one per core");
  command->add_flag("--boundaries,!--no-boundaries", options.boundaries, "mark documents by [CLS] and [SEP]");
}

int run(int argc, char** argv) {
  PrepareRequest request;
  std::filesystem::path tokenizer, file;
  std::string log_level = "info";
  bool verify = false;
  CLI::App app("Turns text into tokenizers and token files.", "rse-data");
  app.set_version_flag("--version", "rse-data " RSE_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  add_text(app, "--log-level", log_level, "trace, debug, info, warn or error")->capture_default_str();
  CLI::App* train = app.add_subcommand("train-tokenizer", "train a tokenizer");
  add_paths(*train, "--input", request.train, "files and folders")->required();
  add_path(*train, "--output", file, "model to write")->required();
  CLI::App* encode = app.add_subcommand("encode", "encode text into a token file");
  add_paths(*encode, "--input", request.train, "files and folders")->required();
  add_path(*encode, "--tokenizer", tokenizer, "model to use")->required();
  add_path(*encode, "--output", file, "token file to write")->required();
  CLI::App* all = app.add_subcommand("prepare", "train a tokenizer and encode the splits into a folder");
  add_paths(*all, "--train", request.train, "files and folders")->required();
  add_paths(*all, "--valid", request.valid, "files and folders");
  add_paths(*all, "--test", request.test, "files and folders");
  add_path(*all, "--output", request.output, "folder to write")->required();
  CLI::App* info = app.add_subcommand("info", "print what a token file holds");
  add_path(*info, "file", file, "token file")->required();
  info->add_flag("--verify", verify, "read everything and compare the checksums");
  for (CLI::App* command : {train, encode, all}) add_corpus_options(command, request.corpus);
  for (CLI::App* command : {train, all}) add_tokenizer_options(*command, request.tokenizer);
  for (CLI::App* command : {encode, all}) add_encoding_options(command, request.encoding);
  if (!parse_flags(app, argc, argv)) return kExitOk;
  init_logging(log_level);
  if (*train) make_tokenizer(request.train, request.corpus, request.tokenizer, file);
  if (*encode) make_token_file(request.train, request.corpus, tokenizer, request.encoding, file);
  if (*all) prepare(request);
  if (*info) fmt::print("{}", describe(TokenFile(file), verify));
  return kExitOk;
}

}  // namespace

int main(int argc, char** argv) {
  return rse::run_program("rse-data", [&] { return run(argc, argv); });
}
