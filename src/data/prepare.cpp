#include "data/prepare.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "core/check.h"
#include "core/file.h"
#include "core/logging.h"
#include "core/stop_signal.h"

namespace rse {
namespace {

// Errors of a late step are better found before an early one has run for minutes.
void check_output_folder(const std::filesystem::path& output) {
  const std::filesystem::path folder = output.has_parent_path() ? output.parent_path() : ".";
  if (!std::filesystem::is_directory(folder)) {
    throw_user_error("cannot write {}: no folder {}", output.string(), folder.string());
  }
}

void report_skipped(const CorpusReader& reader) {
  if (reader.skipped() > 0) spdlog::warn("{} blank documents left out", reader.skipped());
}

}  // namespace

Tokenizer make_tokenizer(const Paths& inputs, const CorpusOptions& corpus, const TokenizerOptions& options,
                         const std::filesystem::path& output) {
  check_output_folder(output);
  const double start = now_seconds();
  CorpusReader reader(inputs, corpus);
  std::optional<ProgressBar> bar;
  LineSample sample = sample_lines(reader, options, [&](uint64_t bytes_read) {
    if (!bar) bar.emplace("sampling lines", reader.bytes_total(), "bytes");
    bar->update(bytes_read);
  });
  bar.reset();  // ends its line
  const std::string model = train_tokenizer(std::move(sample), options);
  Tokenizer tokenizer(model, output.string());
  write_file_atomically(output, model);
  spdlog::info("{}: {} pieces, hash {}, {}", output.string(), tokenizer.vocab_size(), hex64(tokenizer.hash()),
               format_duration(now_seconds() - start));
  return tokenizer;
}

void make_token_file(const Paths& inputs, const CorpusOptions& corpus, const Tokenizer& tokenizer,
                     const EncodingOptions& options, const std::filesystem::path& output) {
  check_encoding_options(options);
  check_output_folder(output);
  const double start = now_seconds();
  CorpusReader reader(inputs, corpus);
  const StopSignal stop;
  TokenFileWriter writer(output, tokenizer.model(), tokenizer.vocab_size());
  std::optional<ProgressBar> bar;
  const EncodingTotals totals = encode_corpus(reader, tokenizer, options, writer, [&](uint64_t bytes_read) {
    if (stop.received() != 0) {  // the writer removes its unfinished file on the way out
      throw Interrupted(fmt::format("{} received: unfinished files were removed", stop.name()));
    }
    if (!bar) bar.emplace("encoding " + output.filename().string(), reader.bytes_total(), "bytes");
    bar->update(bytes_read);
  });
  bar.reset();
  writer.finish();
  report_skipped(reader);
  spdlog::info("{}: {} documents, {} characters, {} tokens ({:.2f} characters a token), {}", output.string(),
               totals.documents, totals.characters, totals.tokens,
               static_cast<double>(totals.characters) / static_cast<double>(totals.tokens),
               format_duration(now_seconds() - start));
}

void prepare(const PrepareRequest& request) {
  check_encoding_options(request.encoding);
  for (const Paths* inputs : {&request.train, &request.valid, &request.test}) list_corpus_files(*inputs);
  std::error_code error;
  std::filesystem::create_directories(request.output, error);
  if (error) throw_user_error("cannot make folder {}: {}", request.output.string(), error.message());
  const Tokenizer tokenizer =
      make_tokenizer(request.train, request.corpus, request.tokenizer, request.output / "tokenizer.model");
  make_token_file(request.train, request.corpus, tokenizer, request.encoding, request.output / "train.bin");
  if (!request.valid.empty()) {
    make_token_file(request.valid, request.corpus, tokenizer, request.encoding, request.output / "valid.bin");
  }
  if (!request.test.empty()) {
    make_token_file(request.test, request.corpus, tokenizer, request.encoding, request.output / "test.bin");
  }
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
  if (file.documents() > 0) fmt::format_to(line, "tokens a document: {} to {}\n", shortest, longest);
  fmt::format_to(line, "vocabulary: {} pieces\n", file.vocab_size());
  fmt::format_to(line, "unigram entropy: {:.4f} nats\n", file.unigram_entropy());
  fmt::format_to(line, "tokenizer: {} bytes, hash {}\n", file.tokenizer_model().size(),
                 hex64(file.tokenizer_hash()));
  if (verify) text += "checksums: right\n";
  return text;
}

}  // namespace rse
