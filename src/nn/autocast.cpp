#include "nn/autocast.h"

#include <ATen/autocast_mode.h>

namespace rse {

Bf16Autocast::Bf16Autocast(const torch::Device& device, bool enabled)
    : device_(device.type()),
      previous_enabled_(at::autocast::is_autocast_enabled(device_)),
      previous_dtype_(at::autocast::get_autocast_dtype(device_)) {
  at::autocast::set_autocast_enabled(device_, enabled);
  at::autocast::set_autocast_dtype(device_, torch::kBFloat16);
  at::autocast::increment_nesting();
}

Bf16Autocast::~Bf16Autocast() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_dtype(device_, previous_dtype_);
  at::autocast::set_autocast_enabled(device_, previous_enabled_);
}

}  // namespace rse
