#include "nn/model_report.h"

#include <algorithm>

#include "core/check.h"
#include "core/logging.h"

namespace rse {
namespace {

std::string group_of(const std::string& name, const torch::Tensor& parameter) {
  switch (parameter_role(name, parameter)) {
    case ParameterRole::kDecay:
      return "decay";
    case ParameterRole::kBiasOrNorm:
      return name.starts_with("position.") ? "position" : "norms and biases";
    case ParameterRole::kMatrix:
      break;
  }
  if (name.starts_with("position.")) return "position";
  if (name.starts_with("embedding.")) return "embedding";
  if (name.starts_with("head_")) return "head";
  return name.find(".ffn_") != std::string::npos ? "ffn" : "attention";
}

void count_parameters(const EncoderImpl& encoder, ModelReport& report) {
  for (const char* name :
       {"embedding", "attention", "ffn", "head", "norms and biases", "position", "decay"}) {
    report.groups.push_back({name, 0});
  }
  for (const auto& item : encoder.named_parameters()) {
    const std::string group = group_of(item.key(), item.value());
    std::find_if(report.groups.begin(), report.groups.end(), [&](const ParameterGroup& g) {
      return g.name == group;
    })->parameters += item.value().numel();
    report.parameters += item.value().numel();
    if (item.key().starts_with("position.")) report.position_parameters += item.value().numel();
  }
  std::erase_if(report.groups, [](const ParameterGroup& group) { return group.parameters == 0; });
}

void count_flop(const EncoderImpl& encoder, const ReportSettings& settings, ModelReport& report) {
  const ModelConfig& model = encoder.config();
  const auto width = static_cast<double>(model.width);
  const double ffn_products = model.activation == Activation::kGelu ? 2.0 : 3.0;
  const double weights =
      2.0 * (4.0 * width * width + ffn_products * width * static_cast<double>(model.ffn_width));
  const double attention =
      encoder.position().attention_flops(settings.seq_len) / static_cast<double>(settings.seq_len);
  const double transform = model.head == HeadKind::kTransform ? width * width : 0.0;
  const double head = 2.0 * (transform + width * static_cast<double>(model.vocab_size));
  report.flop_per_token =
      3.0 * (static_cast<double>(model.layers) * (weights + attention) + settings.target_share * head);
  report.flop_formula = fmt::format("3 x ({} layers x ({} weights + {} attention at {}) + {:g} x {} head)",
                                    model.layers, format_count(weights), format_count(attention),
                                    settings.seq_len, settings.target_share, format_count(head));
}

}  // namespace

ModelReport report_model(const EncoderImpl& encoder, const ReportSettings& settings) {
  RSE_ASSERT(settings.seq_len > 0, "a report for sequences of {} tokens", settings.seq_len);
  ModelReport report;
  count_parameters(encoder, report);
  count_flop(encoder, settings, report);
  report.table_bytes = encoder.position().table_bytes(settings.seq_len);
  for (const torch::Tensor& buffer : encoder.buffers())
    report.table_bytes += static_cast<int64_t>(buffer.nbytes());
  report.state_bytes = 4 * static_cast<int64_t>(sizeof(float)) * report.parameters;
  return report;
}

}  // namespace rse
