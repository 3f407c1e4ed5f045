// What the tests of bad input share: the type of a case, and small inputs that are right except for what a
// case breaks.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "tests/data/toy_file.h"
#include "tests/data/toy_text.h"
#include "tests/program.h"

namespace rse {

// One bad input: the arguments of the command, and what the error must name.
struct BadCase {
  std::string name;  // in CamelCase, part of the test's name
  std::string arguments;
  std::vector<std::string> parts;
};
inline void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.name; }
inline std::string case_name(const testing::TestParamInfo<BadCase>& info) { return info.param.name; }

class BadInput : public ProgramTest {
 protected:
  void expect_train_error(const std::string& arguments, const std::vector<std::string>& parts) const {
    expect_user_error(RSE_TRAIN_PROGRAM, "--log-level error --output run " + arguments, parts);
  }
  void expect_data_error(const std::string& arguments, const std::vector<std::string>& parts) const {
    expect_user_error(RSE_DATA_PROGRAM, "--log-level error " + arguments, parts);
  }

  // Writes run.yaml, a model of some thousand parameters, with train.bin and valid.bin beside it.
  void write_run() const {
    write_toy_file(folder_ / "train.bin", {100, 60, 80}, 100);
    write_toy_file(folder_ / "valid.bin", {70, 40}, 100);
    write("run.yaml",
          "model: {layers: 1, width: 16, heads: 2, ffn_width: 16}\n"
          "data: {train: train.bin, valid: valid.bin, seq_len: 32, min_tokens: 8}\n"
          "train: {steps: 4, batch_size: 2, warmup_steps: 1, device: cpu, threads: 1}\n"
          "validation: {every: 0, pieces: 2}\n"
          "checkpoint: {every: 2}\n");
  }
  // Writes text.txt and a tokenizer.model trained on it.
  void write_tokenizer() const {
    const std::string text = toy_text(3, 5000);
    write("text.txt", text);
    write("tokenizer.model", toy_model(text));
  }
};

}  // namespace rse
