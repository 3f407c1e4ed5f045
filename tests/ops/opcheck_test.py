"""Tests the operator library as Python sees it: load_library, opcheck, gradcheck, no second-order gradient.

usage: opcheck_test.py path/to/librse_ops.so path/to/libtorch
The exit code is 77 (skipped, for ctest) where this Python lacks the very torch that the library was built with.
"""

import os
import sys
import unittest

try:
    import torch
    from torch.utils._triton import has_triton
except ImportError:
    print("this Python has no torch")
    sys.exit(77)

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def inputs(shape, dtype=torch.float64, device="cpu", seed=0, requires_grad=True):
    """Returns q, k, v and decay. They are drawn on the CPU, so that every device gets the same numbers."""
    generator = torch.Generator().manual_seed(seed)
    qkv = [torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype) for _ in range(3)]
    decay = torch.rand(shape[-2], generator=generator, dtype=torch.float64) * 0.3 + 0.05
    decay = decay.to(device, torch.float64 if dtype == torch.float64 else torch.float32)
    return [x.requires_grad_(requires_grad) for x in qkv + [decay]]


def borders(values, device):
    return torch.tensor(values, dtype=torch.int32, device=device)


def samples(device):
    """Yields (name, positional arguments, keyword arguments), which cover every option of the schema."""
    yield "dense", inputs((2, 9, 2, 8), device=device), {}
    yield "float32", inputs((1, 7, 3, 16), torch.float32, device), {"causal": True, "remainder": "self"}
    yield "float16 causal", inputs((2, 70, 2, 40), torch.float16, device), {"causal": True, "deterministic": True}
    yield "bfloat16 packed", inputs((140, 6, 64), torch.bfloat16, device), {
        "cu_seqlens": borders([0, 1, 1, 140], device), "mass": "shared", "remainder": "self"}
    yield "bfloat16", inputs((1, 6, 2, 8), torch.bfloat16, device), {"window": 3, "self_key": False}
    yield "packed", inputs((9, 2, 8), device=device), {
        "cu_seqlens": borders([0, 4, 4, 5, 9], device), "max_seqlen": 5, "mass": "shared"}
    yield "packed causal", inputs((6, 1, 8), device=device), {
        "cu_seqlens": borders([0, 2, 6], device), "causal": True, "rotary_base": 0.0, "scale": 0.7,
        "skip_below": 0.0, "deterministic": True}
    yield "no gradient", inputs((1, 5, 1, 8), device=device, requires_grad=False), {}


class OperatorTest(unittest.TestCase):
    def test_schema_is_the_specified_one(self):
        self.assertEqual(
            str(torch.ops.rse.attention.default._schema),
            "rse::attention(Tensor q, Tensor k, Tensor v, Tensor decay, *, "
            "Tensor? cu_seqlens=None, int max_seqlen=0, "
            'bool causal=False, int window=0, str mass="per_side", bool self_key=True, str remainder="drop", '
            "float rotary_base=10000., float? scale=None, float skip_below=9.9999999999999995e-08, "
            "bool deterministic=False) -> (Tensor out, Tensor rem)")

    def test_opcheck(self):
        for device in DEVICES:
            for name, args, kwargs in samples(device):
                with self.subTest(device=device, sample=name):
                    torch.library.opcheck(torch.ops.rse.attention.default, args, kwargs)

    def test_compiled_is_eager(self):
        """torch.compile sees only the shapes that Meta returns, which must be those of the results."""
        for device in DEVICES:
            backends = ["aot_eager"] + (["inductor"] if device == "cuda" and has_triton() else [])
            for backend in backends:
                for name, args, kwargs in samples(device):
                    with self.subTest(device=device, backend=backend, sample=name):
                        torch._dynamo.reset()

                        def scaled(*tensors):
                            out, rem = torch.ops.rse.attention(*tensors, **kwargs)
                            return 2 * out, rem + 1

                        def results(function):
                            outputs = function(*args)
                            if not args[0].requires_grad:
                                return list(outputs)
                            return list(outputs) + list(
                                torch.autograd.grad([x.square().sum() for x in outputs], args))

                        for expected, found in zip(results(scaled), results(torch.compile(
                                scaled, backend=backend, fullgraph=True))):
                            self.assertEqual(found.stride(), expected.stride())
                            torch.testing.assert_close(found, expected)

    def test_gradcheck(self):
        modes = [
            {},
            {"mass": "shared", "remainder": "self"},
            {"causal": True, "self_key": False, "remainder": "self"},
            {"causal": True, "mass": "shared", "window": 3},
            {"cu_seqlens": [0, 3, 3, 7], "mass": "shared"},
        ]
        for device in DEVICES:
            for mode in modes:
                mode = dict(mode)
                shape = (1, 6, 2, 8)
                if "cu_seqlens" in mode:
                    mode["cu_seqlens"] = borders(mode["cu_seqlens"], device)
                    shape = (7, 2, 8)
                with self.subTest(device=device, mode=mode):
                    self.assertTrue(torch.autograd.gradcheck(
                        lambda *args: torch.ops.rse.attention(*args, skip_below=0.0, **mode),
                        inputs(shape, device=device), atol=1e-7, rtol=1e-5))

    def test_second_order_gradient_is_refused(self):
        for device in DEVICES:
            for rank, through in enumerate(["q", "k", "v", "decay"]):
                with self.subTest(device=device, through=through):
                    args = inputs((1, 5, 2, 8), device=device)
                    out, _ = torch.ops.rse.attention(*args)
                    (grad,) = torch.autograd.grad(out.square().sum(), args[rank], create_graph=True)
                    with self.assertRaisesRegex(RuntimeError, "second-order gradient"):
                        torch.autograd.grad(grad.sum(), args[0])

    def test_unused_outputs_have_zero_gradient(self):
        args = inputs((1, 5, 2, 8))
        _, rem = torch.ops.rse.attention(*args)
        grad = torch.autograd.grad(rem.sum(), args)
        self.assertEqual(grad[2].abs().max().item(), 0.0)
        self.assertGreater(grad[0].abs().max().item(), 0.0)

    def test_expanded_gradient(self):
        """out.sum() passes a gradient of stride 0 to the operator."""
        args = inputs((1, 5, 2, 8))
        summed = torch.autograd.grad(torch.ops.rse.attention(*args)[0].sum(), args)
        out, _ = torch.ops.rse.attention(*args)
        explicit = torch.autograd.grad(out, args, torch.ones_like(out))
        for a, b in zip(summed, explicit):
            self.assertTrue(torch.equal(a, b))

    def test_autocast_leaves_the_arithmetic_alone(self):
        args = inputs((1, 33, 2, 16), torch.bfloat16)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, rem = torch.ops.rse.attention(*args)
        expected_out, expected_rem = torch.ops.rse.attention(*args)
        self.assertTrue(torch.equal(out, expected_out))
        self.assertTrue(torch.equal(rem, expected_rem))

    def test_user_error_is_a_runtime_error(self):
        q, k, v, decay = inputs((1, 5, 2, 8))
        with self.assertRaisesRegex(RuntimeError, "mass is 'both', expected 'per_side' or 'shared'"):
            torch.ops.rse.attention(q, k, v, decay, mass="both")
        with self.assertRaisesRegex(RuntimeError, r"attention: window is -1, expected"):
            torch.ops.rse.attention(q, k, v, decay, window=-1)

    def test_inference_mode_before_training(self):
        """Tables that an evaluation cached must still serve a training step."""
        args = inputs((1, 5, 2, 24))
        with torch.inference_mode():
            expected, _ = torch.ops.rse.attention(*args)
        out, _ = torch.ops.rse.attention(*args)
        out.sum().backward()
        self.assertTrue(torch.equal(out.detach(), expected.clone()))


if __name__ == "__main__":
    library, libtorch = sys.argv.pop(1), sys.argv.pop(1)
    if os.path.realpath(libtorch) != os.path.realpath(torch.__path__[0]):
        print(f"this Python's torch is {torch.__path__[0]}, but the library's is {libtorch}")
        sys.exit(77)
    torch.ops.load_library(library)
    unittest.main()
