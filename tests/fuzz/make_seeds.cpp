// make_fuzz_seeds FOLDER writes small valid inputs for every fuzz target to FOLDER/TARGET.
#include <zstd.h>

#include <cstring>

#include "core/file.h"
#include "data/token_file.h"
#include "tests/fuzz/fuzz.h"

namespace rse {
namespace {

namespace fs = std::filesystem;

void write_seed(const fs::path& folder, const std::string& name, const std::string& content) {
  fs::create_directories(folder);
  write_file_atomically(folder / name, content);
}

std::string zstd_of(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

void token_files(const fs::path& folder) {
  fs::create_directories(folder);
  const fs::path path = folder / "written";
  for (const int64_t vocab_size : {int64_t{100}, int64_t{70000}}) {
    for (const int documents : {0, 1, 5}) {
      TokenFileWriter writer(path, "a tokenizer", vocab_size);
      for (int document = 0; document < documents; ++document) {
        writer.add_document(std::vector<int>(static_cast<size_t>(document * 7 % 12), 10 + document));
      }
      writer.finish();
      for (const char flags : {'\x1F', '\x0F', '\x00'}) {
        write_seed(folder, fmt::format("{}_{}_{}", vocab_size, documents, static_cast<int>(flags)),
                   flags + read_file(path));
      }
    }
  }
  fs::remove(path);
}

void safetensors(const fs::path& folder) {
  const std::pair<std::string, size_t> files[] = {
      {"{}", 0},
      {R"({"__metadata__":{"format":"pt"}})", 0},
      {R"({"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24},
      {R"({"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"b":{"dtype":"I64","shape":[],"data_offsets":[6,14]},)"
       R"("c":{"dtype":"F32","shape":[2,0],"data_offsets":[14,14]},"__metadata__":{"k":"v","l":""}}   )",
       14}};
  for (size_t i = 0; i < std::size(files); ++i) {
    const uint64_t length = files[i].first.size();
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    write_seed(folder, fmt::format("{}", i),
               '\0' + file + files[i].first + std::string(files[i].second, '\7'));
  }
}

void configurations(const fs::path& folder) {
  const char* texts[] = {
      "",
      "steps: 7\nlearning_rate: 1e-3\noutput: runs/x\ndevice: cpu\ndeterministic: true\n",
      "model: {numbers: [1, 2, 3], rates: [0.5], word: \"d\\n\"}\nmask: {probability: 0.15}\n",
      "model:\n  numbers:\n    - 4\n    - 5\nmask:\n  mask_share: 0.8\n  random_share: 0.1\n\n--set "
      "mask.probability=0.3",
      "output: |\n  block\n  text\nsteps: >-\n  7\n",
      "? output\n: 'it''s'\n# comment\n---\n",
      "output: ~\nmodel:\n\n--set model.numbers=[4, 5]",
      "a: &x [1]\nb: *x\nc: !tag 1\n"};
  for (size_t i = 0; i < std::size(texts); ++i) write_seed(folder, fmt::format("{}", i), texts[i]);
}

void corpora(const fs::path& folder) {
  const std::string text = "\xEF\xBB\xBFone two\r\nthree \xE2\x82\xAC\n\n \nfour\n";
  const std::string json = "{\"text\":\"one\\n\\u20ac\",\"n\":[1,{}]}\n\n{\"text\":\"\"}\n{\"text\":\"two\"}";
  for (const int length : {0, 1, 2, 3}) {
    const auto seed = [&](const char* name, int flags, const std::string& content) {
      write_seed(folder, fmt::format("{}_{}", name, length),
                 static_cast<char>(flags | length << 4) + content);
    };
    seed("text", 0, text);
    seed("blank", 8, text);
    seed("json", 1, json);
    seed("zstd", 2, zstd_of(text) + zstd_of(text));
    seed("zstd_json", 3, zstd_of(json));
    seed("zstd_here", 2 | 4, text);
    seed("zstd_json_here", 3 | 4, json);
    seed("gzip_here", 2 | 4 | 64, text);
    seed("no_ending_json", 128, json);
    seed("no_ending_array", 128, "[" + json + "]");
  }
}

}  // namespace
}  // namespace rse

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::filesystem::path folder = argv[1];
  rse::token_files(folder / "token_file");
  rse::safetensors(folder / "safetensors");
  rse::configurations(folder / "yaml");
  rse::corpora(folder / "corpus");
  return 0;
}
