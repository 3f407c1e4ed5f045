#include "data/prepare.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>

#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "core/new_folder.h"
#include "core/stop_signal.h"
#include "core/stoppable_child.h"

namespace rse {
namespace {

// Finds an error of the last step before the first one has run for minutes.
void check_output_file(const std::filesystem::path& output) {
  const std::filesystem::path folder = output.has_parent_path() ? output.parent_path() : ".";
  std::error_code ignored;
  if (!output.has_filename() || std::filesystem::is_directory(output, ignored)) {
    throw_user_error("cannot write '{}': expected the name of a file", output.string());
  }
  if (!std::filesystem::is_directory(folder, ignored)) {
    throw_user_error("cannot write {}: no folder {}", output.string(), folder.string());
  }
}

void report_skipped(const CorpusReader& reader) {
  if (reader.skipped() > 0) spdlog::warn("{} blank documents left out", reader.skipped());
}

// Trains a tokenizer that will be called `name`. Interrupted once `stop` has received a signal.
Tokenizer learn_tokenizer(const Paths& inputs, const CorpusOptions& corpus, const TokenizerOptions& options,
                          const std::filesystem::path& name, const StopSignal& stop) {
  const double start = now_seconds();
  CorpusReader reader(inputs, corpus);
  std::optional<ProgressBar> bar;
  LineSample sample = sample_lines(reader, options, [&](uint64_t bytes_read) {
    stop.throw_if_received();
    if (!bar) bar.emplace("sampling lines", reader.bytes_total(), "bytes");
    bar->update(bytes_read);
  });
  bar.reset();  // the bar ends its line
  std::string model =
      run_stoppable(stop, "train a tokenizer", [&] { return train_tokenizer(std::move(sample), options); });
  Tokenizer tokenizer(std::move(model), name.string());
  spdlog::info("{}: {} pieces, hash {}, {}", name.string(), tokenizer.vocab_size(), hex64(tokenizer.hash()),
               format_duration(now_seconds() - start));
  return tokenizer;
}

// Encodes the corpus into a token file that is complete but for its name; the caller calls finish().
std::unique_ptr<TokenFileWriter> encode_into(const std::filesystem::path& output, const Paths& inputs,
                                             const CorpusOptions& corpus, const Tokenizer& tokenizer,
                                             const EncodingOptions& options, const StopSignal& stop) {
  const double start = now_seconds();
  CorpusReader reader(inputs, corpus);
  auto writer = std::make_unique<TokenFileWriter>(output, tokenizer.model(), tokenizer.vocab_size());
  std::optional<ProgressBar> bar;
  const EncodingTotals totals = encode_corpus(reader, tokenizer, options, *writer, [&](uint64_t bytes_read) {
    stop.throw_if_received();  // the writer removes its unfinished file on the way out
    if (!bar) bar.emplace("encoding " + output.filename().string(), reader.bytes_total(), "bytes");
    bar->update(bytes_read);
  });
  bar.reset();
  writer->complete();
  report_skipped(reader);
  spdlog::info("{}: {} documents, {} characters, {} tokens ({:.2f} characters per token), {}",
               output.string(), totals.documents, totals.characters, totals.tokens,
               static_cast<double>(totals.characters) / static_cast<double>(totals.tokens),
               format_duration(now_seconds() - start));
  return writer;
}

// Throws for a pipe among the inputs, because the text of the tokenizer is read twice.
void expect_readable_twice(const Paths& inputs) {
  for (const CorpusFile& file : list_corpus_files(inputs)) {
    if (!std::filesystem::is_regular_file(file.path)) {
      throw_user_error("{}: a pipe, and prepare reads its training text twice: expected a file",
                       file.path.string());
    }
  }
}

}  // namespace

void make_tokenizer(const Paths& inputs, const CorpusOptions& corpus, const TokenizerOptions& options,
                    const std::filesystem::path& output) {
  check_output_file(output);
  const StopSignal stop;
  write_file_atomically(output, learn_tokenizer(inputs, corpus, options, output, stop).model());
}

void make_token_file(const Paths& inputs, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                     const EncodingOptions& options, const std::filesystem::path& output) {
  check_encoding_options(options);
  check_output_file(output);
  const StopSignal stop;
  encode_into(output, inputs, corpus, tokenizer, options, stop)->finish();
}

void prepare(const PrepareRequest& request) {
  check_encoding_options(request.encoding);
  expect_readable_twice(request.train);
  for (const Paths* inputs : {&request.valid, &request.test}) list_corpus_files(*inputs);
  const StopSignal stop;
  NewFolder folder(request.output);
  const std::filesystem::path model = request.output / "tokenizer.model";
  const Tokenizer tokenizer = learn_tokenizer(request.train, request.corpus, request.tokenizer, model, stop);
  std::vector<std::unique_ptr<TokenFileWriter>> writers;
  const auto encode = [&](const Paths& inputs, const char* name) {
    if (inputs.empty()) return;
    writers.push_back(
        encode_into(request.output / name, inputs, request.corpus, tokenizer, request.encoding, stop));
  };
  encode(request.train, "train.bin");
  encode(request.valid, "valid.bin");
  encode(request.test, "test.bin");
  stop.throw_if_received();
  write_file_atomically(model, tokenizer.model());
  for (const auto& writer : writers) writer->finish();
  folder.keep();
}

std::string describe(const TokenFile& file, bool verify) {
  if (verify) file.verify();
  uint64_t shortest = ~uint64_t{0}, longest = 0;
  for (uint64_t document = 0; document < file.documents(); ++document) {
    shortest = std::min(shortest, file.document_length(document));
    longest = std::max(longest, file.document_length(document));
  }
  std::string text;
  const auto line = std::back_inserter(text);
  fmt::format_to(line, "file: {}\n", file.path().string());
  fmt::format_to(line, "documents: {}\n", file.documents());
  fmt::format_to(line, "tokens: {} ({} bytes each)\n", file.tokens(), file.token_width());
  if (file.documents() > 0) fmt::format_to(line, "tokens per document: {} to {}\n", shortest, longest);
  fmt::format_to(line, "vocabulary: {} pieces\n", file.vocab_size());
  fmt::format_to(line, "unigram entropy: {:.4f} nats\n", file.unigram_entropy());
  fmt::format_to(line, "tokenizer: {} bytes, hash {}\n", file.tokenizer_model().size(),
                 hex64(file.tokenizer_hash()));
  if (verify) text += "checksums: right\n";
  return text;
}

}  // namespace rse
