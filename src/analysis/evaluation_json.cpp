#include "analysis/evaluation_json.h"

#include <nlohmann/json.hpp>

#include "analysis/findings.h"
#include "analysis/headlines.h"
#include "core/file.h"

namespace rse {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json estimate_json(const Estimate& estimate) {
  Json json = {{"mean", estimate.mean}, {"low", nullptr}, {"high", nullptr}};
  if (estimate.interval) {
    json["low"] = estimate.interval->low;
    json["high"] = estimate.interval->high;
  }
  return json;
}

Json estimate_json(const std::optional<Estimate>& estimate) {
  return estimate ? estimate_json(*estimate) : Json();
}

Json length_json(const LengthResult& row) {
  Json json = {{"length", row.length},
               {"attention", row.control() ? "control" : "full"},
               {"attention_window", row.control() ? Json(row.attention_window) : Json()},
               {"seconds", row.seconds},
               {"nll", estimate_json(row.nll)},
               {"difference", estimate_json(row.difference)},
               {"over_control", estimate_json(row.over_control)},
               {"edges", Json::array()}};
  for (const EdgeBucket& bucket : row.edges) {
    json["edges"].push_back(
        {{"first", bucket.first}, {"last", bucket.last}, {"targets", bucket.targets}, {"nll", bucket.nll}});
  }
  return json;
}

Json arms_json(const std::vector<ArmResult>& arms) {
  Json json = Json::array();
  for (const ArmResult& arm : arms) {
    Json results = Json::array();
    for (const LengthResult& row : arm.lengths) results.push_back(length_json(row));
    json.push_back({{"arm", arm.arm},
                    {"seeds", arm.seeds},
                    {"on_unigram_plateau", arm.on_plateau},
                    {"results", std::move(results)}});
  }
  return json;
}

Json comparison_json(const Comparison& comparison) {
  return {{"first", comparison.first},
          {"second", comparison.second},
          {"length", comparison.length},
          {"seeds", comparison.seeds},
          {"by_seed", comparison.by_seed},
          {"difference", estimate_json(comparison.difference)},
          {"p", comparison.p},
          {"p_holm", comparison.p_holm},
          {"smallest_p_holm", comparison.smallest_p_holm},
          {"detectable", or_null(comparison.detectable)},
          {"verdict", verdict_name(comparison.verdict)}};
}

Json protocol_json(const Analysis& analysis, const EvaluationMeta& meta) {
  return {{"run", meta.run},
          {"step", meta.step},
          {"data", meta.data},
          {"data_fingerprint", meta.data_fingerprint},
          {"trained_on", meta.trained_on},
          {"pieces", meta.pieces},
          {"piece_selection", meta.piece_selection},
          {"piece_tokens", meta.piece_tokens},
          {"targets", analysis.targets},
          {"documents", analysis.documents},
          {"unigram_entropy", analysis.unigram_entropy},
          {"trained_length", analysis.trained_length},
          {"lengths", meta.lengths},
          {"control_window", meta.control_window > 0 ? Json(meta.control_window) : Json()},
          {"beyond", meta.beyond},
          {"masking",
           {{"probability", meta.mask_probability},
            {"mask_share", meta.mask_share},
            {"random_share", meta.random_share},
            {"seed", meta.mask_seed}}},
          {"device", meta.device},
          {"precision", meta.precision},
          {"batch_tokens", meta.batch_tokens},
          {"program", meta.program},
          {"bootstrap",
           {{"resamples", analysis.bootstrap.resamples},
            {"seed", analysis.bootstrap.seed},
            {"confidence", kConfidence}}},
          {"plateau_share", kPlateauShare},
          {"seeds_for_a_verdict", kSeedsForAVerdict},
          {"hold_margin", kHoldMargin}};
}

Json cost_json(const ArmCost& cost) {
  return {{"arm", cost.arm},
          {"device", cost.device},
          {"differs", cost.differs},
          {"parameters", cost.parameters},
          {"position_parameters", cost.position_parameters},
          {"decay_parameters", cost.decay_parameters},
          {"table_bytes", cost.table_bytes},
          {"flop_per_token", cost.flop_per_token},
          {"flop_formula", cost.flop_formula},
          {"memory_bytes", or_null(cost.memory_bytes)},
          {"step_ms_median", or_null(cost.step_ms)},
          {"step_ms_interquartile_range", or_null(cost.step_ms_spread)},
          {"tokens_per_second", or_null(cost.tokens_per_second)},
          {"mfu", or_null(cost.mfu)}};
}

Json overlap_json(const FileOverlap& file) {
  return {{"same_content", file.same_content},
          {"same_file", file.same_file},
          {"documents", or_null(file.documents)}};
}

Json overlap_json(const DataOverlap& overlap) {
  return {{"documents", overlap.documents},
          {"train", overlap_json(overlap.train)},
          {"valid", overlap_json(overlap.valid)},
          {"warnings", overlap_warnings(overlap)},
          {"in_words", overlap_in_words(overlap)}};
}

Json headlines_json(const Headlines& headlines) {
  Json arms = Json::array();
  for (const ArmHeadline& headline : headlines.arms) {
    arms.push_back({{"arm", headline.arm}, {"text", headline.text}});
  }
  return {{"warnings", headlines.warnings},
          {"arms", std::move(arms)},
          {"between_arms", headlines.between_arms},
          {"scope", headlines.scope}};
}

}  // namespace

void write_evaluation(const std::filesystem::path& path, const Analysis& analysis,
                      const EvaluationMeta& meta) {
  Json json = {{"format", 1},
               {"protocol", protocol_json(analysis, meta)},
               {"overlap", overlap_json(meta.overlap)},
               {"arms", arms_json(analysis.arms)},
               {"replicas", arms_json(analysis.replicas)},
               {"comparisons", Json::array()},
               {"headlines", headlines_json(make_headlines(analysis))},
               {"findings", findings(analysis)},
               {"costs", Json::array()},
               {"decay", Json::array()},
               {"configuration", meta.configuration}};
  for (const Comparison& comparison : analysis.comparisons) {
    json["comparisons"].push_back(comparison_json(comparison));
  }
  for (const ArmCost& cost : meta.costs) json["costs"].push_back(cost_json(cost));
  for (const ReplicaDecay& decay : meta.decay) {
    json["decay"].push_back({{"arm", decay.arm}, {"seed", decay.seed}, {"lambda", decay.lambda}});
  }
  write_file_atomically(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace rse
