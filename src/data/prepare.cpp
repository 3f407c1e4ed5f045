#include "data/prepare.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>

#include "core/check.h"
#include "core/file.h"
#include "core/folder_lock.h"
#include "core/logging.h"
#include "core/new_folder.h"
#include "core/output_path.h"
#include "core/printable.h"
#include "core/stop_signal.h"
#include "core/stoppable_child.h"
#include "data/manifest.h"

namespace rse {
namespace {

// "JSON lines (by content), gzip".
std::string describe_format(const CorpusFile& file) {
  std::string text = file.format == TextFormat::kJsonLines ? "JSON lines" : "text";
  if (file.by_content) text += " (by content)";
  if (file.compression != Compression::kNone) text += fmt::format(", {}", compression_name(file.compression));
  return text;
}

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

Paths files_of(const Paths& inputs) {
  Paths paths;
  for (const CorpusFile& file : list_corpus(inputs).files) paths.push_back(file.path);
  return paths;
}

// Says how each file is read, as long as there are few, and what is left out of folders.
void log_files(CorpusReader& reader) {
  constexpr size_t kFilesNamed = 10, kPathsNamed = 3;
  for (const LeftOut& left : reader.listing().left_out) {
    std::string paths;
    for (size_t i = 0; i < std::min(kPathsNamed, left.paths.size()); ++i) {
      paths += (i > 0 ? ", " : "") + left.paths[i].string();
    }
    spdlog::warn("left out, {}: {} ({}{})", left.reason, left.paths.size(), paths,
                 left.paths.size() > kPathsNamed ? ", ..." : "");
  }
  std::set<std::filesystem::path> taken;
  for (const CorpusFile& file : reader.listing().files) {
    std::error_code ignored;
    if (taken.insert(std::filesystem::canonical(file.path, ignored)).second) continue;
    spdlog::warn("{}: taken again: its text counts more than once", file.path.string());
  }
  if (reader.listing().files.size() > 1) spdlog::info("{} files taken", reader.listing().files.size());
  reader.on_open([opened = size_t{0}](const CorpusFile& file) mutable {
    if (file.text_like_json_lines) {
      spdlog::warn("{}: read as text, as its ending says, but it looks like JSON lines: --format jsonl",
                   file.path.string());
    }
    const auto level = ++opened <= kFilesNamed ? spdlog::level::info : spdlog::level::debug;
    spdlog::log(level, "{}: read as {}", file.path.string(), describe_format(file));
  });
}

// Says what was found in a corpus that has been read.
void log_findings(const CorpusReader& reader) {
  std::map<std::string, size_t> formats;
  for (const CorpusFile& file : reader.listing().files) ++formats[describe_format(file)];
  for (const auto& [format, files] : formats) {
    if (reader.listing().files.size() > 1) spdlog::info("{} files read as {}", files, format);
  }
  if (reader.skipped() > 0) {
    spdlog::warn("{} blank documents left out: they hold no visible character", reader.skipped());
  }
  if (reader.replaced() > 0) {
    spdlog::warn("{} escapes (halves of surrogate pairs, \\u0000) became U+FFFD", reader.replaced());
  }
}

struct LearnedTokenizer {
  Tokenizer tokenizer;
  ManifestEntry manifest;
};

// Trains a tokenizer that will be called `name`. Interrupted once `stop` has received a signal.
LearnedTokenizer learn_tokenizer(const Paths& inputs, const CorpusOptions& corpus,
                                 const TokenizerOptions& options, const std::filesystem::path& name,
                                 const StopSignal& stop) {
  const double start = now_seconds();
  CorpusReader reader(inputs, corpus);
  log_files(reader);
  std::optional<ProgressBar> bar;
  LineSample sample = sample_lines(reader, options, [&](uint64_t bytes_read) {
    stop.throw_if_received();
    if (!bar) bar.emplace("sampling lines", reader.bytes_total(), "bytes");
    bar->update(bytes_read);
  });
  bar.reset();  // the bar ends its line
  log_findings(reader);
  std::string model =
      run_stoppable(stop, "train a tokenizer", [&] { return train_tokenizer(std::move(sample), options); });
  Tokenizer tokenizer(std::move(model), name.string());
  spdlog::info("{}: {} pieces, hash {}, {}", name.string(), tokenizer.vocab_size(), hex64(tokenizer.hash()),
               format_duration(now_seconds() - start));
  ManifestEntry manifest = manifest_entry(name.filename().string(), hex64(tokenizer.hash()), reader);
  return {std::move(tokenizer), std::move(manifest)};
}

struct EncodedFile {
  std::unique_ptr<TokenFileWriter> writer;
  ManifestEntry manifest;
};

// Encodes a corpus into a token file that is complete but for its name; the caller calls finish().
// first_time: the log has not said yet what the corpus is.
EncodedFile encode_into(const std::filesystem::path& output, const Paths& inputs, const CorpusOptions& corpus,
                        const Tokenizer& tokenizer, const EncodingOptions& options, const StopSignal& stop,
                        bool first_time = true) {
  const double start = now_seconds();
  CorpusReader reader(inputs, corpus);
  if (first_time) log_files(reader);
  auto writer = std::make_unique<TokenFileWriter>(output, tokenizer.model(), tokenizer.vocab_size());
  std::optional<ProgressBar> bar;
  const EncodingTotals totals = encode_corpus(reader, tokenizer, options, *writer, [&](uint64_t bytes_read) {
    stop.throw_if_received();  // the writer removes its unfinished file on the way out
    if (!bar) bar.emplace("encoding " + output.filename().string(), reader.bytes_total(), "bytes");
    bar->update(bytes_read);
  });
  bar.reset();
  writer->complete();
  if (first_time) log_findings(reader);
  spdlog::info("{}: {} documents, {} characters, {} tokens ({:.2f} characters per token), {}",
               output.string(), totals.documents, totals.characters, totals.tokens,
               static_cast<double>(totals.characters) / static_cast<double>(totals.tokens),
               format_duration(now_seconds() - start));
  ManifestEntry manifest = manifest_entry(output.filename().string(), hex64(writer->fingerprint()), reader);
  return {std::move(writer), std::move(manifest)};
}

// Throws for a pipe among the inputs, because the text of the tokenizer is read twice.
void expect_readable_twice(const Paths& inputs) {
  for (const CorpusFile& file : list_corpus(inputs).files) {
    if (!std::filesystem::is_regular_file(file.path)) {
      throw_user_error("{}: a pipe, and prepare reads its training text twice: expected a file",
                       file.path.string());
    }
  }
}

// Throws where a split of an earlier prepare would stay beside a tokenizer that it was not made with.
void expect_no_stale_split(const PrepareRequest& request) {
  for (const auto& [inputs, name, flag] : {std::tuple(&request.valid, "valid.bin", "--valid"),
                                           std::tuple(&request.test, "test.bin", "--test")}) {
    std::error_code missing;
    if (!inputs->empty() || !std::filesystem::exists(request.output / name, missing)) continue;
    throw_user_error(
        "--output: '{}': {} of an earlier prepare is there, and would not fit the new tokenizer: "
        "expected {} as well, or another folder",
        request.output.string(), name, flag);
  }
}

std::filesystem::path manifest_beside(const std::filesystem::path& output) {
  return output.string() + ".manifest.json";
}

}  // namespace

void make_tokenizer(const Paths& inputs, const CorpusOptions& corpus, const TokenizerOptions& options,
                    const std::filesystem::path& output) {
  check_output_file(output);
  expect_not_read({output, manifest_beside(output)}, files_of(inputs));
  const StopSignal stop;
  const LearnedTokenizer learned = learn_tokenizer(inputs, corpus, options, output, stop);
  write_file_atomically(manifest_beside(output), manifest_text({learned.manifest}, corpus));
  write_file_atomically(output, learned.tokenizer.model());
}

void make_token_file(const Paths& inputs, const CorpusOptions& corpus, const std::filesystem::path& model,
                     const EncodingOptions& options, const std::filesystem::path& output) {
  const Tokenizer tokenizer = Tokenizer::load(model);
  check_encoding_options(options);
  check_output_file(output);
  expect_not_read({output, manifest_beside(output)}, files_of(inputs));
  expect_not_read({output, manifest_beside(output)}, {model});
  const StopSignal stop;
  const EncodedFile encoded = encode_into(output, inputs, corpus, tokenizer, options, stop);
  write_file_atomically(manifest_beside(output), manifest_text({encoded.manifest}, corpus));
  encoded.writer->finish();
}

void prepare(const PrepareRequest& request) {
  check_encoding_options(request.encoding);
  expect_readable_twice(request.train);
  const std::filesystem::path model = request.output / "tokenizer.model";
  Paths outputs = {model};
  for (const char* name : {"train.bin", "valid.bin", "test.bin", "manifest.json"}) {
    outputs.push_back(request.output / name);
  }
  for (const Paths* inputs : {&request.train, &request.valid, &request.test}) {
    expect_not_read(outputs, files_of(*inputs));
  }
  expect_no_stale_split(request);
  const StopSignal stop;
  NewFolder folder(request.output);
  const FolderLock lock(request.output);
  if (lock.state() == FolderLock::State::kTaken) {
    throw_user_error("--output: '{}': another process writes into this folder: expected one at a time",
                     request.output.string());
  }
  const Tokenizer tokenizer =
      learn_tokenizer(request.train, request.corpus, request.tokenizer, model, stop).tokenizer;
  std::vector<std::unique_ptr<TokenFileWriter>> writers;
  std::vector<ManifestEntry> manifest;
  const auto encode = [&](const Paths& inputs, const char* name, bool first_time) {
    if (inputs.empty()) return;
    EncodedFile encoded = encode_into(request.output / name, inputs, request.corpus, tokenizer,
                                      request.encoding, stop, first_time);
    writers.push_back(std::move(encoded.writer));
    manifest.push_back(std::move(encoded.manifest));
  };
  encode(request.train, "train.bin", false);
  encode(request.valid, "valid.bin", true);
  encode(request.test, "test.bin", true);
  stop.throw_if_received();
  write_file_atomically(request.output / "manifest.json", manifest_text(manifest, request.corpus));
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
  fmt::format_to(line, "file: {}\n", printable(file.path().string()));
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
