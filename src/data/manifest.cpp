#include "data/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/hash.h"

namespace rse {
namespace {

using Json = nlohmann::ordered_json;

template <typename E>
const std::string& name_of(E value, const EnumNames<E>& names) {
  const auto named =
      std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.second == value; });
  RSE_ASSERT(named != names.end(), "value {} has no name", static_cast<int>(value));
  return named->first;
}

Json files_of(const CorpusListing& listing) {
  Json files = Json::array();
  for (const CorpusFile& file : listing.files) {
    files.push_back({{"path", file.path.string()},
                     {"bytes", file.bytes},
                     {"xxh64", hex64(file.hash)},
                     {"format", name_of(file.format, text_format_names())},
                     {"compression", compression_name(file.compression)},
                     {"documents", file.documents}});
  }
  return files;
}

Json left_out_of(const CorpusListing& listing) {
  Json left_out = Json::array();
  for (const LeftOut& left : listing.left_out) {
    Json paths = Json::array();
    for (const std::filesystem::path& path : left.paths) paths.push_back(path.string());
    left_out.push_back({{"reason", left.reason}, {"paths", std::move(paths)}});
  }
  return left_out;
}

}  // namespace

ManifestEntry manifest_entry(const std::string& output, const std::string& hash, const CorpusReader& corpus) {
  return {.output = output,
          .hash = hash,
          .listing = corpus.listing(),
          .documents = corpus.documents(),
          .skipped = corpus.skipped(),
          .replaced = corpus.replaced()};
}

std::string manifest_text(const std::vector<ManifestEntry>& entries, const CorpusOptions& options) {
  Json outputs = Json::array();
  for (const ManifestEntry& entry : entries) {
    outputs.push_back({{"output", entry.output},
                       {"hash", entry.hash},
                       {"documents", entry.documents},
                       {"blank_documents", entry.skipped},
                       {"replaced_escapes", entry.replaced},
                       {"files", files_of(entry.listing)},
                       {"left_out", left_out_of(entry.listing)}});
  }
  const Json manifest = {{"format", name_of(options.format, text_format_names())},
                         {"field", options.field},
                         {"document_separator", name_of(options.separator, document_separator_names())},
                         {"outputs", std::move(outputs)}};
  // Names of files may hold bytes that are not UTF-8.
  return manifest.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace rse
