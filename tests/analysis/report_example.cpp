// Writes a run folder with metrics and an evaluation, from losses that a rule makes.
// tests/analysis/report_test.py draws it, and so does a person who changes the figures. The numbers resemble
// measured ones: RSE stays flat, RoPE gets far worse at long lengths, and learned positions stay on the
// plateau.
//
//   rse_report_example FOLDER SEEDS DOCUMENTS
//
// It writes FOLDER/metrics.jsonl and FOLDER/evaluation-1/evaluation.json.
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "analysis/evaluation_json.h"
#include "core/check.h"
#include "core/file.h"
#include "core/random.h"

namespace rse {
namespace {

constexpr int64_t kTrained = 512, kLongest = 16384, kSteps = 3000;
constexpr double kEntropy = 6.70;

struct ExampleArm {
  const char* name;
  double nll, start;         // NLL at the trained length; loss when training starts
  double growth, power;      // the NLL at L grows by growth * (log2(L / trained))^power
  double far_context, edge;  // gain per doubling over the control; loss at an edge
};

// One name holds characters that must be escaped.
const ExampleArm kArms[] = {{"learned <tile> & \"co\"", 6.01, 9.0, 0.014, 1.0, 0.0, 0.05},
                            {"rope", 3.32, 9.0, 0.02, 3.55, 0.0, 0.5},
                            {"rse", 3.30, 9.0, -0.004, 0.5, 0.002, 0.6}};

double noise(uint64_t key, uint64_t index) {
  const auto bits = random_bits(key, index);
  return uniform01(bits[0]) + uniform01(bits[1]) + uniform01(bits[2]) - 1.5;
}

TargetPlaces places_of(int64_t documents) {
  TargetPlaces places;
  for (int64_t d = 0; d < documents; ++d) {
    for (int64_t i = 0; i < 400 + 40 * (d % 5); ++i) {
      places.documents.push_back(d);
      places.offsets.push_back(static_cast<int64_t>(
          random_bits(mix_key(3, "offset"), static_cast<uint64_t>(d * 1000 + i))[0] % kLongest));
    }
  }
  return places;
}

LengthLosses losses_of(const ExampleArm& arm, uint64_t seed, const TargetPlaces& places, int64_t length,
                       int64_t window) {
  LengthLosses losses{length, window, {}, 0.2 * static_cast<double>(window > 0 ? 1 : length / kTrained)};
  const double doublings = std::log2(static_cast<double>(length) / kTrained);
  for (size_t i = 0; i < places.documents.size(); ++i) {
    const auto document = static_cast<uint64_t>(places.documents[i]);
    const double distance = static_cast<double>(edge_distance(places.offsets[i], length));
    double nll =
        arm.nll + 0.03 * noise(mix_key(1, arm.name), seed) + 0.2 * noise(2, document) + 1.5 * noise(3, i);
    nll += arm.edge / (1 + distance / 4);
    if (window == 0 && doublings > 0) {
      const double spread =
          1 + 0.5 * noise(mix_key(4, arm.name), document) + 0.2 * noise(mix_key(5, arm.name), seed);
      nll += spread * (arm.growth * std::pow(doublings, arm.power) - arm.far_context * doublings);
    }
    losses.nll.push_back(static_cast<float>(nll));
  }
  return losses;
}

std::vector<ReplicaLosses> replicas_of(uint64_t seeds, const TargetPlaces& places) {
  std::vector<ReplicaLosses> replicas;
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    for (const ExampleArm& arm : kArms) {
      ReplicaLosses& replica = replicas.emplace_back(ReplicaLosses{arm.name, seed, {}});
      for (int64_t window : {int64_t{0}, kTrained / 2}) {
        for (int64_t length = kTrained; length <= kLongest; length *= 2) {
          replica.lengths.push_back(losses_of(arm, seed, places, length, window));
        }
      }
    }
  }
  return replicas;
}

ReplicaDecay decay_of(uint64_t seed) {
  ReplicaDecay decay{"rse", seed, {}};
  for (uint64_t layer = 0; layer < 6; ++layer) {
    std::vector<double>& row = decay.lambda.emplace_back();
    for (uint64_t head = 0; head < 6; ++head) {
      const double exponent =
          0.2 - 0.5 * static_cast<double>(layer) + 1.5 * noise(9, 100 * seed + 6 * layer + head);
      row.push_back(std::pow(10.0, exponent));
    }
  }
  return decay;
}

EvaluationMeta meta_of(uint64_t seeds) {
  EvaluationMeta meta;
  meta.program = "rse-eval (example)";
  meta.run = "runs/example";
  meta.step = kSteps;
  meta.data = "data/example/test.bin";
  meta.pieces = 12;
  meta.piece_selection = "all";
  meta.piece_tokens = kLongest;
  for (int64_t length = kTrained; length <= kLongest; length *= 2) meta.lengths.push_back(length);
  meta.control_window = kTrained / 2;
  meta.beyond = "tile";
  meta.mask_probability = 0.15;
  meta.mask_share = 0.8;
  meta.random_share = 0.1;
  meta.mask_seed = 4;
  meta.device = "an example, not a measurement";
  meta.precision = "float32";
  meta.batch_tokens = 65536;
  for (const ExampleArm& arm : kArms) {
    ArmCost& cost = meta.costs.emplace_back();
    cost.arm = arm.name;
    cost.differs = "model.position.method";
    cost.parameters = 13'800'000;
    cost.position_parameters = cost.arm == "rse" ? 36 : 0;
    cost.decay_parameters = cost.position_parameters;
    cost.table_bytes = 262144;
    cost.flop_per_token = 9.1e7;
    cost.flop_formula = "3 x (6 x (2 x (4 x 384^2 + 2 x 384 x 1536) + 786432) + 0.15 x 2 x 384 x 8192)";
    if (cost.arm == "rope") continue;  // the other costs of this arm are not known
    cost.memory_bytes = int64_t{3} << 30;
    cost.step_ms = 15.25;
    cost.step_ms_spread = 0.13;
    cost.tokens_per_second = 2.15e6;
    cost.mfu = 0.178;
  }
  for (uint64_t seed = 1; seed <= seeds; ++seed) meta.decay.push_back(decay_of(seed));
  meta.configuration = "# <script>alert(1)</script>\nmodel:\n  layers: 6\n";
  return meta;
}

std::string metrics(uint64_t seeds) {
  std::string lines;
  for (int64_t step = 1; step <= kSteps; ++step) {
    for (uint64_t seed = 1; seed <= seeds; ++seed) {
      for (const ExampleArm& arm : kArms) {
        const double level = arm.nll + (arm.start - arm.nll) * std::exp(-static_cast<double>(step) / 400);
        const double loss = level + 0.3 * noise(mix_key(seed, arm.name), static_cast<uint64_t>(step));
        nlohmann::ordered_json line = {{"type", "update"}, {"step", step}, {"seed", seed}, {"arm", arm.name}};
        line["loss"] = step % 997 == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(loss);
        lines += line.dump() + "\n";
        if (step % 500 != 0) continue;
        line = {{"type", "validation"}, {"step", step},        {"seed", seed},
                {"arm", arm.name},      {"nll", level + 0.05}, {"targets", 5000}};
        lines += line.dump() + "\n";
      }
    }
  }
  return lines;
}

int write_example(const std::filesystem::path& folder, uint64_t seeds, int64_t documents) {
  const std::filesystem::path evaluation = folder / "evaluation-1";
  std::filesystem::create_directories(evaluation);
  const TargetPlaces places = places_of(documents);
  const Analysis analysis = analyze(places, replicas_of(seeds, places), kTrained, kEntropy, {1000, 1});
  write_evaluation(evaluation / "evaluation.json", analysis, meta_of(seeds));
  write_file_atomically(folder / "metrics.jsonl", metrics(seeds));
  return kExitOk;
}

}  // namespace
}  // namespace rse

int main(int argc, char** argv) {
  return rse::run_program("rse_report_example", [&] {
    if (argc != 4) rse::throw_user_error("expected FOLDER SEEDS DOCUMENTS");
    return rse::write_example(argv[1], std::stoull(argv[2]), std::stoll(argv[3]));
  });
}
