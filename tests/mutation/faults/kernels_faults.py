"""Faults of kernels: the operator on a GPU."""
from planting import Fault, Hook

ORACLE = ("ops:Gpu/*Oracle*",)
FAR = "abs(first_key - at.row) >= 192"
MASK = """    const int key = place.key + n, distance = kLeft ? place.row - key : key - place.row;
    if (distance <= 0 || «distance >= limits.window» ||"""
MASK_BEFORE = """      const int key = place.key + n, distance = kLeft ? place.row - key : key - place.row;
      if (distance <= 0 || «distance >= limits.window» ||"""


def gpu(name, file, text, becomes, what, tests=ORACLE):
    return Fault(f"kernels.{name}", f"kernels/{file}", text, becomes, what, tests, gpu=True)


HOOKS = [Hook("kernels/attention.cu",
              "  Arena work(workspace), kept(outputs.saved);«»\n", "\n  ::rse::send_fault_to_device();")]

FAULTS = [
    gpu("float32_forward_far_keys", "float32/forward.cu", "for (; «i < tiles.count»; ++i) {", "i < min(tiles.count, 2)",
        "float32: keys beyond the neighbouring tile of 64 take no part."),
    gpu("portable_forward_far_keys", "portable/forward.cu", "for (; «i < tiles.count»; ++i) {",
        "i < min(tiles.count, 3)", "Portable: keys beyond the third tile take no part."),
    gpu("hopper_forward_far_keys", "hopper/forward.cu", "while («i < tiles.count») {", "i < min(tiles.count, 4)",
        "Hopper: keys beyond the fourth tile take no part."),
    gpu("float32_query_gradient_far_keys", "float32/backward.cu",
        "«accumulate<D, kTileKeys>(logit_grads, keys, grad_query);»",
        f"if (!({FAR})) accumulate<D, kTileKeys>(logit_grads, keys, grad_query);",
        "float32: the gradient of the query lacks far keys."),
    gpu("float32_key_gradients_far_keys", "float32/backward.cu", "      «add_key_gradients(first_key);»\n",
        f"if (!({FAR})) add_key_gradients(first_key);",
        "float32: the gradients of key and value lack far queries."),
    gpu("portable_query_gradient_far_keys", "portable/backward.cu",
        "«accumulate<Element, D>(shared_address(stage), packed, grad_query);»",
        f"if (!({FAR})) accumulate<Element, D>(shared_address(stage), packed, grad_query);",
        "Portable: the gradient of the query lacks far keys."),
    gpu("portable_key_gradients_far_keys", "portable/backward.cu", "    «add_key_gradients(first_key);»\n",
        f"if (!({FAR})) add_key_gradients(first_key);",
        "Portable: the gradients of key and value lack far queries."),
    gpu("hopper_logit_gradients_far_keys", "hopper/backward_block.cuh",
        "«pack_logit_gradients<Element>(grad, grad_scale, packed);»",
        "pack_logit_gradients<Element>(grad, grad_scale, packed); if (" + FAR + ") "
        "for (auto& pairs : packed) for (auto& pair : pairs) pair = 0;",
        "Hopper: the gradients of query and key lack far pairs."),
    gpu("hopper_key_gradients_far_keys", "hopper/backward_block.cuh",
        "void add_sums(int tile, int panel, int buffer) const {\n    if («threadIdx.x % kWarpgroup == 0»)",
        "threadIdx.x % kWarpgroup == 0 && abs(tile * kKeys - at.row) < 192",
        "Hopper: the gradients of key and value lack far queries."),
    gpu("decay_gradient_far_keys", "stick.cuh", "«grad_decay -= fmaf(place.nearest<kLeft>(), total, moment);»",
        "if (place.nearest<kLeft>() < 128.f) grad_decay -= fmaf(place.nearest<kLeft>(), total, moment);",
        "16 bits: the gradient of the decay lacks far keys."),
    gpu("window_one_wider", "walk.cuh", MASK, "distance > limits.window",
        "float32, portable: a key at the distance of the window takes part."),
    gpu("hopper_window_one_wider", "walk.cuh", MASK_BEFORE, "distance > limits.window",
        "Hopper: a key at the distance of the window takes part."),
    gpu("window_63_not_masked", "walk.cuh",
        "return «(kLeft ? last_row - first_key : first_key + kTileKeys - 1 - first_row) >= window»;",
        "(kLeft ? last_row - first_key : first_key + kTileKeys - 1 - first_row) > window",
        "A tile whose farthest pair is exactly as far as the window is not masked."),
    gpu("reach_of_window_short", "device_common.cuh", "return plan.reach == nullptr ? «window - 1» : plan.reach[item];",
        "window - 2", "Without a plan, the tile that holds only the farthest key of a window is not visited."),
    gpu("plan_of_window_short", "plan.cu", "min(static_cast<int64_t>(reach), «p.window - 1»)", "p.window - 2",
        "With a plan, the tile that holds only the farthest key of a window is not visited."),
    gpu("reach_ignores_logits", "plan.cu", "const float reach = («most» - log2f(skip_below) - tail)", "0.f",
        "How far a block looks does not depend on how large its logits may be.", ("ops:Gpu*Skip*", *ORACLE)),
    gpu("reach_ignores_far_loud_key", "prepare.cu",
        "«keep_largest(out.key_norm + first.head_index, sqrtf(most[1]));»",
        "if (first.position < kKeys) keep_largest(out.key_norm + first.head_index, sqrtf(most[1]));",
        "How far a block looks is told by the first tile's keys, whatever loud key lies farther.",
        ("ops:Gpu*Skip*", *ORACLE)),
    gpu("stop_by_one_row", "portable/forward.cu",
        "const bool live = «stick[0] >= skip_below || stick[1] >= skip_below»;", "stick[0] >= skip_below",
        "Portable: a block stops when half of its rows have no stick left."),
    gpu("hopper_stop_by_one_row", "hopper/forward.cu",
        "if (!__syncthreads_or(«stick[0] >= skip_below || stick[1] >= skip_below»)) break;", "stick[0] >= skip_below",
        "Hopper: a block stops when half of its rows have no stick left."),
    gpu("shared_stick_twice", "self_key.cuh", "causal ? self.remaining : «0.5f * self.remaining»;", "self.remaining",
        "With shared mass each side gets all that the own key leaves."),
    gpu("remainder_gradient_lost", "prepare.cu", "side[s] += «in.rem[i.row * sides + s] * d_rem»;", "0.f",
        "The gradient of the remainder does not reach the logits."),
    gpu("decay_gradient_of_first_row", "finish.cu", "«n < p.batch * blocks»; n += blockDim.x)", "n < blocks",
        "The gradient of the decay is that of the first row of the batch."),
    gpu("deterministic_slots_lost", "finish.cu", "for (int slot = 1; «slot < acc.slots»; ++slot) {",
        "slot < min(acc.slots, 2)", "Deterministic: of the partial sums of dK and dV, only two are added."),
    gpu("key_gradient_turned_forward", "finish.cu",
        "rotate(sums.key[0], sums.key[1], p.cos + angle, p.sin + angle, «-1.f»);", "1.f",
        "The gradient of the key is rotated forward, not back."),
    gpu("float32_reciprocal_unrefined", "stick.cuh",
        "Reciprocal::kNewton ? «exact_reciprocal(q[kRun - 1])» :", "rcp_approx(q[kRun - 1])",
        "float32: reciprocals keep the bias of the instruction, which adds up along thousands of keys."),
    gpu("stick_of_one_tile", "stick.cuh", "  «stick *= remaining;»\n  return front;", "if (remaining < 0.5f) stick *= remaining;",
        "A tile that breaks off less than half leaves the stick as it was."),
    gpu("half_logit_gradients_not_scaled", "float16_scales.cuh",
        "return «bound > 1e-30f && bound < INFINITY ? 8192.f / power_of_two_below(bound) : 1.f»;", "1.f",
        "float16: gradients of logits vanish or overflow where their size is not near 1.", ("ops:Gpu*Extremes*", *ORACLE)),
    gpu("half_keys_not_scaled", "float16_scales.cuh",
        "return «!(norm * factor > 65504.f) ? factor : power_of_two_below(65504.f / norm)»;", "factor",
        "float16: prepared keys beyond its range overflow.", ("ops:Gpu*Extremes*", *ORACLE)),
]
