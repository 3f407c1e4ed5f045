// Tests the estimate of memory against what forward and backward passes allocate on the CPU.
#include "nn/memory_estimate.h"

#include "nn/autocast.h"
#include "nn/objective.h"
#include "tests/nn/counted_memory.h"
#include "tests/nn/small_model.h"
#include "tests/support.h"

namespace rse {
namespace {

constexpr double kTolerance = 0.1;

struct Case {
  std::string method = "learned";
  NormPlacement norm = NormPlacement::kPre;
  Activation activation = Activation::kGelu;
  HeadKind head = HeadKind::kTied;
  bool embedding_norm = false;
  double dropout = 0.0;
  bool bf16 = false;
  Recompute recompute = Recompute::kNone;
  bool uniform = true;
  bool accumulates = false;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const std::string& method : kAllMethods) {
    for (const Recompute recompute : {Recompute::kNone, Recompute::kFfn, Recompute::kLayer}) {
      for (const bool bf16 : {false, true}) {
        Case plain;
        plain.method = method;
        plain.recompute = recompute;
        plain.bf16 = bf16;
        Case other = plain;
        other.norm = NormPlacement::kPost;
        other.activation = Activation::kGeglu;
        other.head = HeadKind::kTransform;
        other.embedding_norm = true;
        other.dropout = 0.1;
        other.uniform = false;
        other.accumulates = true;
        Case mixed = plain;
        mixed.activation = Activation::kGeglu;
        mixed.dropout = 0.1;
        cases.insert(cases.end(), {plain, other, mixed});
      }
    }
  }
  return cases;
}

std::string name_of(const Case& c) {
  std::string text = c.method;
  text += c.norm == NormPlacement::kPre ? "_pre" : "_post";
  text += c.activation == Activation::kGelu ? "_gelu" : "_geglu";
  text += c.bf16 ? "_bf16" : "_float32";
  for (const auto& [name, recompute] : recompute_names()) {
    if (recompute == c.recompute) text += "_" + name;
  }
  return text + (c.dropout > 0 ? "_dropout" : "") + (c.uniform ? "" : "_ragged");
}

void PrintTo(const Case& c, std::ostream* out) { *out << name_of(c); }

class MemoryEstimateOf : public testing::TestWithParam<Case> {
 protected:
  // Runs a micro-batch (after another one where gradients accumulate) and compares.
  void measure() {
    const Case& c = GetParam();
    ModelConfig config = small_config(c.method);
    config.layers = 3;
    config.width = 64;
    config.ffn_width = 160;
    config.vocab_size = 200;
    config.norm = c.norm;
    config.activation = c.activation;
    config.head = c.head;
    config.embedding_norm = c.embedding_norm;
    config.dropout = c.dropout;
    config.position.keys<LearnedPositionConfig>().max_positions = 64;
    Encoder encoder = small_encoder(config);
    encoder->set_recompute(c.recompute);
    const std::vector<int64_t> lengths =
        c.uniform ? std::vector<int64_t>(10, 48) : std::vector<int64_t>{64, 64, 31, 64, 64, 17, 64, 64};
    const int threads = torch::get_num_threads();
    torch::set_num_threads(1);  // memory is counted in this thread
    // The process keeps tables of angles from its first pass on; they are no part of an update.
    Encoder first = small_encoder(config);
    run(first, lengths);
    first = nullptr;
    if (c.accumulates) run(encoder, lengths);
    const CountedMemory memory;
    memory_ = &memory;
    run(encoder, lengths);
    peak_ = static_cast<double>(memory.peak());
    torch::set_num_threads(threads);
    for (const auto& item : encoder->named_parameters())
      gradients_ += static_cast<double>(item.value().nbytes());
    estimate_ = estimate_memory(
        *encoder, {{lengths, c.bf16 ? torch::kBFloat16 : torch::kFloat32, torch::Device(torch::kCPU)},
                   targets_,
                   c.recompute,
                   c.accumulates});
  }

  void run(Encoder& encoder, const std::vector<int64_t>& lengths) {
    std::vector<int32_t> borders = {0};
    for (const int64_t length : lengths) borders.push_back(borders.back() + static_cast<int32_t>(length));
    const SequenceLayout layout = make_layout(borders, torch::kCPU);
    const torch::Tensor ids = token_ids(layout.total(), 1), at = torch::arange(0, layout.total(), 6);
    targets_ = at.numel();
    torch::Tensor loss;
    {
      const Bf16Autocast autocast(torch::kCPU, GetParam().bf16);
      loss = MaskedLmObjective().loss(*encoder, {ids, layout, at, token_ids(targets_, 2)}, 0.1,
                                      DropoutKey{4, 0});
    }
    if (memory_ != nullptr) kept_ = static_cast<double>(memory_->current());
    loss.backward();
  }

  const CountedMemory* memory_ = nullptr;
  int64_t targets_ = 0;
  double kept_ = 0, peak_ = 0, gradients_ = 0;
  MemoryEstimate estimate_;
};

TEST_P(MemoryEstimateOf, IsWhatForwardKeepsAndBackwardTakes) {
  measure();
  EXPECT_NEAR(estimate_.kept_bytes() / kept_, 1.0, kTolerance) << describe_memory(estimate_, "  ");
  // Gradients of an earlier micro-batch were allocated before.
  const double before = GetParam().accumulates ? gradients_ : 0;
  EXPECT_NEAR(estimate_.worst_point() / (peak_ + before), 1.0, kTolerance)
      << "peak " << peak_ << " gradients " << gradients_ << "\n"
      << describe_memory(estimate_, "  ");
}

INSTANTIATE_TEST_SUITE_P(Cpu, MemoryEstimateOf, testing::ValuesIn(all_cases()),
                         [](const auto& info) { return name_of(info.param); });

TEST(MemoryEstimate, AddsUp) {
  const Encoder encoder = small_encoder(small_config("rse"));
  const StepShape shape{{{10, 10}, torch::kFloat32, torch::Device(torch::kCPU)}, 4, Recompute::kNone, false};
  const MemoryEstimate estimate = estimate_memory(*encoder, shape);
  double parameters = 0;
  for (const auto& item : encoder->named_parameters())
    parameters += static_cast<double>(item.value().numel());
  EXPECT_EQ(sum_of(estimate.state), 16 * parameters);
  EXPECT_EQ(estimate.lasting_bytes(), 12 * parameters);
  EXPECT_GE(estimate.worst_point(), 4 * parameters);  // all gradients are there at the update
  EXPECT_EQ(estimate.peak_bytes(), estimate.lasting_bytes() + estimate.worst_point());
  const std::string text = describe_memory(estimate, "  ");
  for (const char* part :
       {"  weights  ", "kept: query, key and value", "kept: logits", "at the loss", "  peak  "}) {
    EXPECT_THAT(text, testing::HasSubstr(part));
  }
}

}  // namespace
}  // namespace rse
