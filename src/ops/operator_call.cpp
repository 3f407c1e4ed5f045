#include "ops/operator_call.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <string>

namespace rse::ops {

using torch::Tensor;

OperatorCall::OperatorCall(std::optional<Tensor> cu_seqlens, at::OptionalIntArrayRef borders,
                           int64_t max_seqlen, bool causal, int64_t window, std::string_view mass,
                           bool self_key, std::string_view remainder, double rotary_base,
                           std::optional<double> scale, double skip_below, bool deterministic,
                           std::string_view backend)
    : cu_seqlens(std::move(cu_seqlens)),
      borders(borders ? borders->vec() : std::vector<int64_t>()),
      max_seqlen(max_seqlen),
      options{causal,
              window,
              parse_mass(std::string(mass)),
              self_key,
              parse_remainder(std::string(remainder)),
              rotary_base,
              scale,
              skip_below,
              deterministic,
              parse_backend(std::string(backend))} {}

OperatorCall::OperatorCall(std::optional<Tensor> cu_seqlens, std::vector<int64_t> borders, int64_t max_seqlen,
                           const AttentionOptions& options)
    : cu_seqlens(std::move(cu_seqlens)),
      borders(std::move(borders)),
      max_seqlen(max_seqlen),
      options(options) {}

CallParameters::Tuple OperatorCall::parameters() const {
  at::OptionalIntArrayRef host_borders;
  if (!borders.empty()) host_borders = at::IntArrayRef(borders);
  return {cu_seqlens,
          host_borders,
          max_seqlen,
          options.causal,
          options.window,
          to_string(options.mass),
          options.self_key,
          to_string(options.remainder),
          options.rotary_base,
          options.scale,
          options.skip_below,
          options.deterministic,
          to_string(options.backend)};
}

ForwardTensors call_attention_forward(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const Tensor& decay, const OperatorCall& call, bool save) {
  using Signature = decltype(LowerOperators<void, CallParameters>::forward);
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow("rse::attention_forward", "").typed<Signature>();
  return std::apply(
      [&](const auto&... parameters) { return handle.call(query, key, value, decay, parameters..., save); },
      call.parameters());
}

BackwardTensors call_attention_backward(const BackwardInputs& saved, const Tensor& query, const Tensor& key,
                                        const Tensor& value, const Tensor& decay, const OperatorCall& call) {
  using Signature = decltype(LowerOperators<void, CallParameters>::backward);
  static const auto handle =
      c10::Dispatcher::singleton().findSchemaOrThrow("rse::attention_backward", "").typed<Signature>();
  return std::apply(
      [&](const auto&... parameters) {
        return handle.call(saved.grad_out, saved.grad_rem, saved.out, saved.rem, saved.extent, saved.saved,
                           query, key, value, decay, parameters...);
      },
      call.parameters());
}

std::tuple<Tensor, Tensor> attention_operator(const Tensor& query, const Tensor& key, const Tensor& value,
                                              const Tensor& decay, const std::optional<Tensor>& cu_seqlens,
                                              int64_t max_seqlen, bool causal, int64_t window,
                                              std::string_view mass, bool self_key,
                                              std::string_view remainder, double rotary_base,
                                              std::optional<double> scale, double skip_below,
                                              bool deterministic) {
  const OperatorCall call(cu_seqlens, {}, max_seqlen, causal, window, mass, self_key, remainder, rotary_base,
                          scale, skip_below, deterministic, to_string(Backend::kAuto));
  auto [out, rem, extent, saved] = call_attention_forward(query, key, value, decay, call, /*save=*/false);
  return {out, rem};
}

}  // namespace rse::ops

namespace rse {

AttentionResult attention(const torch::Tensor& query, const torch::Tensor& key, const torch::Tensor& value,
                          const torch::Tensor& decay, const std::optional<torch::Tensor>& cu_seqlens,
                          int64_t max_seqlen, const AttentionOptions& options,
                          const std::vector<int64_t>& borders) {
  auto [out, rem, extent, saved] = ops::call_attention_forward(
      query, key, value, decay, ops::OperatorCall(cu_seqlens, borders, max_seqlen, options), /*save=*/false);
  return {out, rem};
}

}  // namespace rse
