// Fuzzes corpora: every document that is read is valid text, and none of a plain text file is lost.
//
// The input is a byte of flags, followed by the file.
#include <array>

#include "core/utf8.h"
#include "data/corpus.h"
#include "tests/data/gzip_of.h"
#include "tests/data/zstd_of.h"
#include "tests/fuzz/fuzz.h"

namespace rse {
namespace {

// Bits 4 and 5 choose a length. kGzip: what is compressed here is compressed with gzip. kNoEnding: the file's
// content decides its format.
enum Flag { kJson = 1, kCompressed = 2, kCompressHere = 4, kBlankLines = 8, kGzip = 64, kNoEnding = 128 };

// Returns all documents of a text file with this content together, as they must come back.
std::string expected_text(std::string content) {
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
  if (!content.empty() && content.back() != '\n') content += '\n';
  return content;
}

}  // namespace
}  // namespace rse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace rse;
  constexpr size_t kEnough = size_t{1} << 20;  // because a few bytes of zstd can stand for gigabytes
  if (size == 0) return 0;
  const int flags = data[0];
  const std::string content(reinterpret_cast<const char*>(data) + 1, size - 1);
  static const std::array<FuzzFile, 5> files = {FuzzFile(".txt"), FuzzFile(".jsonl"), FuzzFile(".txt.zst"),
                                                FuzzFile(".jsonl.zst"), FuzzFile("")};
  const bool compress = (flags & kCompressed) != 0 && (flags & kCompressHere) != 0;
  const bool whole = (flags & kCompressed) == 0 || compress;
  const auto& path =
      files[(flags & kNoEnding) != 0 ? 4 : flags & 3].write(!compress              ? content
                                                            : (flags & kGzip) != 0 ? gzip_of(content)
                                                                                   : zstd_of(content));
  CorpusOptions options;
  if ((flags & kBlankLines) != 0) options.separator = DocumentSeparator::kBlankLine;
  options.longest_text_document = std::array<size_t, 4>{4, 16, 100, 1 << 20}[flags >> 4 & 3];
  std::string all;
  bool text_file = false;
  const bool good = accepted([&] {
    CorpusReader reader({path}, options);
    for (std::string text; all.size() < kEnough && reader.next(text); all += text) {
      FUZZ_EXPECT(!text.empty() && utf8_error_position(text) == text.size());
    }
    const CorpusFile& file = reader.listing().files.front();
    text_file = file.format == TextFormat::kText && (file.compression != Compression::kNone) == compress;
    FUZZ_EXPECT(reader.bytes_read() <= reader.bytes_total());
    if (reader.skipped() > 0) all.clear();  // blank documents are left out
  });
  if (good && whole && !all.empty() && text_file && (flags & kBlankLines) == 0) {
    // A last line that was cut at the end of the file gets no line feed.
    if (all.back() != '\n') all += '\n';
    FUZZ_EXPECT(all == expected_text(content));
  }
  return 0;
}
