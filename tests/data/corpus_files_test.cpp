// Tests what is taken from folders, what is left out, and the manifest.
#include "data/corpus_files.h"

#include <nlohmann/json.hpp>

#include "data/manifest.h"
#include "tests/data/corpus_reading.h"
#include "tests/data/gzip_of.h"

namespace rse {
namespace {

using testing::ElementsAre;

class CorpusFiles : public CorpusReading {
 protected:
  std::vector<std::string> names(const std::vector<CorpusFile>& files) const {
    std::vector<std::string> names;
    for (const CorpusFile& file : files) names.push_back(name(file.path));
    return names;
  }
  std::string name(const std::filesystem::path& path) const {
    return path.lexically_relative(folder_.path()).string();
  }
  std::map<std::string, std::vector<std::string>> left_out(const CorpusListing& listing) const {
    std::map<std::string, std::vector<std::string>> left;
    for (const LeftOut& group : listing.left_out) {
      for (const auto& path : group.paths) left[group.reason].push_back(name(path));
    }
    return left;
  }
};

const std::string kLine = "{\"text\":\"x\"}\n";

TEST_F(CorpusFiles, KnownEndingsAreTakenInEitherCaseAndCompressed) {
  for (const char* file : {"f/D.TXT", "f/a.text", "f/b/c.txt.gz", "f/b/d.JSONL.ZST", "f/e.json", "f/e.ndjson",
                           "f/wiki_00", "f/part-00001.gz", "f/c4.00000-of-01024"}) {
    write(file, std::string(file).ends_with(".gz") ? gzip_of(kLine) : kLine);
  }
  const CorpusListing listing = list_corpus({folder_ / "f"});
  EXPECT_THAT(names(listing.files),
              ElementsAre("f/D.TXT", "f/a.text", "f/b/c.txt.gz", "f/b/d.JSONL.ZST", "f/c4.00000-of-01024",
                          "f/e.json", "f/e.ndjson", "f/part-00001.gz", "f/wiki_00"));
  EXPECT_TRUE(listing.left_out.empty());
}

TEST_F(CorpusFiles, WhatIsLeftOutIsCountedByReason) {
  for (const char* file :
       {"f/a.txt", "f/.ipynb_checkpoints/a-checkpoint.txt", "f/.a.txt", "f/._a.txt", "f/NOTES.rst",
        "f/LICENSE", "f/a.txt.bak", "f/a.txt~", "f/a.txt.tmp.123", "f/t.mp3", "f/hash.md5", "f/manifest.json",
        "f/a.bin.manifest.json", "else/b.txt"}) {
    write(file, "text\n");
  }
  write("f/model-00001", std::string("\0\1", 2));
  std::filesystem::create_directory_symlink("../else", folder_ / "f/part2");
  std::filesystem::create_directory_symlink("..", folder_ / "f/up");
  std::filesystem::create_symlink("../else/b.txt", folder_ / "f/b.txt");
  const CorpusListing listing = list_corpus({folder_ / "f"});
  EXPECT_THAT(names(listing.files), ElementsAre("f/a.txt", "f/b.txt"));
  const auto left = left_out(listing);
  EXPECT_EQ(left.size(), 6u);
  EXPECT_THAT(left.at("manifest of an output"), ElementsAre("f/a.bin.manifest.json", "f/manifest.json"));
  EXPECT_THAT(left.at("hidden (the name begins with a dot)"),
              ElementsAre("f/._a.txt", "f/.a.txt", "f/.ipynb_checkpoints"));
  EXPECT_THAT(left.at("link to a folder"), ElementsAre("f/part2", "f/up"));
  EXPECT_THAT(left.at("temporary file of an output"), ElementsAre("f/a.txt.tmp.123"));
  EXPECT_THAT(left.at("not text"), ElementsAre("f/model-00001"));
  EXPECT_THAT(left.at("ending that is not one of a corpus file"),
              ElementsAre("f/LICENSE", "f/NOTES.rst", "f/a.txt.bak", "f/a.txt~", "f/hash.md5", "f/t.mp3"));
}

// A file or folder that is named itself is taken, whatever its name.
TEST_F(CorpusFiles, NamedPathsAreTaken) {
  write(".hidden/a.txt", "text\n");
  write(".b", "text\n");
  write("real/c.txt", "text\n");
  std::filesystem::create_directory_symlink("real", folder_ / "link");
  EXPECT_THAT(names(list_corpus({folder_ / ".hidden", folder_ / ".b", folder_ / "link"}).files),
              ElementsAre(".hidden/a.txt", ".b", "link/c.txt"));
}

TEST_F(CorpusFiles, AFolderOfNothingSaysWhatItHolds) {
  write("f/a.pdf", "x");
  write("f/.a.txt", "x");
  EXPECT_THAT(
      [&] { list_corpus({folder_ / "f"}); },
      ThrowsUserError("no corpus files in this folder: expected .txt, .jsonl, .ndjson or .json, or these "
                      "with .gz or .zst; left out: hidden (the name begins with a dot): 1"));
}

TEST_F(CorpusFiles, TheManifestListsFilesWithSizeAndHash) {
  const std::string compressed = gzip_of(kLine + kLine);
  write("f/a.txt", "one\n");
  write("f/b.json.gz", compressed);
  write("f/skipped.html", "x");
  CorpusReader reader({folder_ / "f"}, {});
  documents(reader);
  const std::string text = manifest_text({manifest_entry("x.bin", "12ab", reader)}, {});
  const auto manifest = nlohmann::json::parse(text);
  EXPECT_EQ(manifest["format"], "auto");
  EXPECT_EQ(manifest["document_separator"], "none");
  const auto& output = manifest["outputs"][0];
  EXPECT_EQ(output["output"], "x.bin");
  EXPECT_EQ(output["hash"], "12ab");
  EXPECT_EQ(output["documents"], 3);
  ASSERT_EQ(output["files"].size(), 2u);
  EXPECT_EQ(output["files"][0]["path"], (folder_ / "f/a.txt").string());
  EXPECT_EQ(output["files"][0]["bytes"], 4);
  EXPECT_EQ(output["files"][0]["xxh64"], hex64(xxh64("one\n", 4)));
  EXPECT_EQ(output["files"][1]["format"], "jsonl");
  EXPECT_EQ(output["files"][1]["compression"], "gzip");
  EXPECT_EQ(output["files"][1]["bytes"], compressed.size());
  EXPECT_EQ(output["files"][1]["xxh64"], hex64(xxh64(compressed.data(), compressed.size())));
  EXPECT_EQ(output["files"][1]["documents"], 2);
  EXPECT_EQ(output["left_out"][0]["paths"][0], (folder_ / "f/skipped.html").string());
}

}  // namespace
}  // namespace rse
