"""Tests that each wrong argument of the operators is an error in Python that names it, and that the process goes on.

A crash ends the whole process, so every case is a ctest entry of its own (CMakeLists.txt finds the functions
case_NAME). Beside refusals a case states which extreme values are taken, and that their results are finite.

usage: refusals_test.py path/to/librse_ops.so path/to/libtorch cpu|cuda NAME
The exit code is 77 (skipped, for ctest) where this Python lacks the very torch that the library was built with, or
where there is no such device.
"""

import ctypes
import os
import re
import sys

if sys.argv[3:4] == ["cuda"]:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        print("there is no CUDA driver")
        sys.exit(77)
try:
    import torch
except ImportError:
    print("this Python has no torch")
    sys.exit(77)

DEVICE = "cpu"
INT64_MAX, INT64_MIN = 2**63 - 1, -2**63
INF, NAN = float("inf"), float("nan")


def tensors(shape=(2, 70, 3, 16), dtype=torch.float32, device=None):
    """Returns valid q, k, v and decay that require gradients."""
    generator = torch.Generator().manual_seed(1)
    qkv = [torch.randn(shape, generator=generator, dtype=torch.float64).to(device or DEVICE, dtype) for _ in range(3)]
    decay_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    decay = torch.full((shape[-2],), 0.1, dtype=decay_dtype, device=device or DEVICE)
    return [x.requires_grad_() for x in qkv + [decay]]


def changed(position, change, arguments=None):
    """Returns valid tensors of which one, by its position in q, k, v, decay, is change(itself)."""
    arguments = arguments or tensors()
    arguments[position] = change(arguments[position].detach())
    return arguments


def packed(cu_seqlens=(0, 30, 30, 70), device=None):
    """Returns the tensors of packed documents, and their cu_seqlens."""
    return tensors((70, 3, 16)), torch.tensor(cu_seqlens, dtype=torch.int32, device=device or DEVICE)


def results(arguments, operator=torch.ops.rse, **options):
    """Returns out, rem and the gradients of q, k, v, decay."""
    out, rem = operator.attention(*arguments, **options)
    return [out, rem, *torch.autograd.grad(out.float().sum() + rem.sum(), arguments)]


def refused(message, arguments=None, call=None, **options):
    """Asserts that the call fails with the message, a regular expression, with and without gradients."""
    call = call or (lambda *tensors: torch.ops.rse.attention(*tensors, **options))
    arguments = arguments or tensors()
    before = results(tensors())
    for mode in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
        with mode:
            try:
                call(*arguments)
            except (RuntimeError, TypeError) as error:
                text = str(error)
                assert re.search(message, text), f"the error is '{text}', expected '{message}'"
                continue
        raise AssertionError(f"no error, expected '{message}'")
    for expected, found in zip(before, results(tensors())):
        assert torch.equal(expected, found), "a valid call gives other results after the error"


def finite(arguments, **options):
    found = results(arguments, **options)
    for name, x in zip(("out", "rem", "grad q", "grad k", "grad v", "grad decay"), found):
        assert torch.isfinite(x).all(), f"{name} is not finite with {options}"
    return found


def same(expected, found):
    assert all(torch.equal(a, b) for a, b in zip(expected, found)), "the results differ"


def other_device():
    return "meta" if DEVICE == "cpu" else "cpu"


def case_query_shape():
    refused(r"query has shape \[70, 3, 16\], expected \[batch, seq, heads, head_dim\]", changed(0, lambda x: x[0]))
    refused(r"query has shape \[2, 70, 3, 16\], expected \[total, heads, head_dim\]",
            cu_seqlens=torch.tensor([0, 70], dtype=torch.int32, device=DEVICE))
    refused(r"query has shape \[\], expected", changed(0, lambda x: x.sum()))
    refused(r"query has shape \[0\], expected", changed(0, lambda x: x.flatten()[:0]))


def case_key_shape():
    refused(r"key has shape \[2, 69, 3, 16\], expected query's \[2, 70, 3, 16\]", changed(1, lambda x: x[:, 1:]))
    refused(r"key has shape \[70, 3, 16\], expected query's", changed(1, lambda x: x[0]))


def case_value_shape():
    refused(r"value has shape \[2, 70, 3, 8\], expected query's", changed(2, lambda x: x[..., :8]))


def case_decay_shape():
    refused(r"decay has shape \[2\], expected \[heads\] = \[3\]", changed(3, lambda x: x[:2]))
    refused(r"decay has shape \[\], expected \[heads\] = \[3\]", changed(3, lambda x: x[0]))
    refused(r"decay has shape \[3, 1\], expected \[heads\] = \[3\]", changed(3, lambda x: x[:, None]))


def case_cu_seqlens_shape():
    arguments, cu_seqlens = packed()
    refused(r"cu_seqlens has shape \[1\], expected \[documents \+ 1\]", arguments, cu_seqlens=cu_seqlens[:1])
    refused(r"cu_seqlens has shape \[2, 2\], expected", arguments, cu_seqlens=cu_seqlens.view(2, 2))


def case_heads_and_head_dim():
    for head_dim in (1, 7, 12, 136):
        refused(f"head_dim is {head_dim}, expected a multiple of 8 from 8 to 128", tensors((1, 4, 2, head_dim)))
    refused(r"query has shape \[1, 4, 0, 16\], expected at least one head", tensors((1, 4, 0, 16)))


def case_dtypes():
    refused("query has dtype Int, expected float32", [x.detach().int() for x in tensors()])
    refused("query has dtype ComplexFloat, expected", [x.detach().to(torch.complex64) for x in tensors()])
    refused("key has dtype BFloat16, expected query's Float", changed(1, lambda x: x.bfloat16()))
    refused("value has dtype Double, expected query's Float", changed(2, lambda x: x.double()))
    refused("decay has dtype Half, expected Float with a query of Float", changed(3, lambda x: x.half()))
    refused("decay has dtype Float, expected Double", changed(3, lambda x: x.float(), tensors(dtype=torch.float64)))
    arguments, cu_seqlens = packed()
    refused("cu_seqlens has dtype Long, expected int32", arguments, cu_seqlens=cu_seqlens.long())


def case_devices():
    """Python's dispatcher refuses some mixtures before the operator can."""
    other = other_device()
    for position, name in enumerate(("query", "key", "value", "decay")):
        refused(f"{name} is on|device", changed(position, lambda x: x.to(other)))
    arguments, cu_seqlens = packed()
    refused("cu_seqlens is on|device", arguments, cu_seqlens=cu_seqlens.to(other))


def case_layouts():
    refused(r"key has strides \[3360, 48, 1, 3\], expected stride 1 in head_dim",
            changed(1, lambda x: x.transpose(2, 3).contiguous().transpose(2, 3)))
    refused(r"value has strides \[.*, 0\], expected stride 1", changed(2, lambda x: x[..., :1].expand(2, 70, 3, 16)))
    refused("value is sparse|Sparse", changed(2, lambda x: x.to_sparse()))


def case_none():
    """Where no argument is a tensor and no gradient is wanted, the dispatcher itself refuses the call."""
    for position, name in enumerate(("query", "key", "value", "decay")):
        refused(f"{name} is None, expected a tensor", changed(position, lambda x: None))
    refused("no tensor arguments|None", [None] * 4)


def case_window():
    for window in (-1, -2**31, -2**32 + 5, INT64_MIN):
        refused(f"window is {window}, expected 0", window=window)
    refused("", window=2**63)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        expected = results(tensors(dtype=dtype), deterministic=True)
        for window in (70, 71, 2**31 - 1, 2**31, 2**31 + 1, 2**32 + 1, 2**62, INT64_MAX - 62, INT64_MAX - 1, INT64_MAX):
            for causal in (False, True):
                found = finite(tensors(dtype=dtype), window=window, causal=causal, deterministic=True)
                if not causal:
                    same(expected, found)
    arguments, cu_seqlens = packed()
    same(results(arguments, cu_seqlens=cu_seqlens, deterministic=True),
         results(arguments, cu_seqlens=cu_seqlens, deterministic=True, window=INT64_MAX))


def case_decay_values():
    if DEVICE == "cpu":
        for value in (-0.5, -1e-45, INF, -INF, NAN):
            refused(r"decay\[1\] is .*, expected a finite number >= 0",
                    changed(3, lambda x: torch.tensor([0.1, value, 0.1])))
    for dtype, values in ((torch.float32, (1e30, 1.1e30, 2.3e38, 2.4e38, 3.4e38)),
                          (torch.bfloat16, (1e30, 3.4e38)), (torch.float16, (1e30, 3.4e38)),
                          (torch.float64, (1e30, 1e39, 1.3e308, 1.7e308))):
        for value in values:
            for options in ({}, {"causal": True, "skip_below": 0.0}, {"mass": "shared", "remainder": "self"}):
                arguments = tensors(dtype=dtype)
                arguments[3] = torch.full_like(arguments[3], value).requires_grad_()
                finite(arguments, **options)


def case_scale():
    for scale in (NAN, INF, -INF, 1.1e30, -1.1e30, 2.4e38, 3.5e38, -1e39, 1e300):
        refused("scale is .*, expected a finite number from -1e.?30 to 1e.?30", scale=scale)
    for scale in (0.0, -0.0, -0.25, 1e-30, 1e-300):
        finite(tensors(), scale=scale)
    for scale in (1e30, -1e30, 1e15):
        finite(tensors(), scale=scale)
        finite(tensors(dtype=torch.float64), scale=scale)


def case_rotary_base():
    for base in (-1.0, 0.5, 1.0, NAN, INF, -INF):
        refused("rotary_base is .*, expected 0", rotary_base=base)
    for base in (0.0, -0.0, 1.0000001, 1e38, 1e39, 1.7e308):
        finite(tensors(), rotary_base=base)


def case_skip_below():
    for skip_below in (-1e-9, 1.0, 2.0, NAN, INF, -INF):
        refused("skip_below is .*, expected a number from 0 to below 1", skip_below=skip_below)
    for skip_below in (0.0, 5e-324, 1e-50, 0.999999999999):
        finite(tensors(), skip_below=skip_below)


def case_names():
    refused("mass is 'both', expected 'per_side' or 'shared'", mass="both")
    refused("remainder is '', expected 'drop' or 'self'", remainder="")
    refused("mass is 'shared\u00e9', expected", mass="shared\u00e9")
    refused("", call=lambda *x: torch.ops.rse.attention(*x, window="3"))
    refused("", call=lambda *x: torch.ops.rse.attention(*x, wimdow=3))
    refused("backend is 'cuda', expected 'auto'", call=lambda *x: forward(*x, backend="cuda"))
    if DEVICE == "cpu":
        refused("backend is 'portable', but", call=lambda *x: forward(*x, backend="portable"))


def case_max_seqlen():
    arguments, cu_seqlens = packed()
    for most in (-1, INT64_MIN):
        refused(f"max_seqlen is {most}, expected 0", arguments, cu_seqlens=cu_seqlens, max_seqlen=most)
    refused("max_seqlen is 39, expected 0 .unknown. or at least the longest document's 40", arguments,
            cu_seqlens=cu_seqlens, max_seqlen=39)
    for most in (40, 2**31, 2**32 + 1, INT64_MAX):
        finite(arguments, cu_seqlens=cu_seqlens, max_seqlen=most)


def case_cu_seqlens_values():
    for values, message in (((1, 70), r"cu_seqlens\[0\] is 1, expected 0"), ((0, 69), "cu_seqlens ends at 69"),
                            ((0, 50, 40, 70), r"cu_seqlens\[2\] is 40, expected at least cu_seqlens\[1\] = 50"),
                            ((0, 2**31 - 1, -2**31, 70), r"cu_seqlens\[2\] is -2147483648"),
                            ((0, 71), "cu_seqlens ends at 71"), ((0, -1, 70), r"cu_seqlens\[1\] is -1")):
        arguments, cu_seqlens = packed(values)
        refused(message, arguments, cu_seqlens=cu_seqlens)


def case_sizes():
    """More tokens, heads or batch rows than int32 counts, without the memory: every stride but one is 0."""
    for many in (2**31, 2**32 + 1, 2**40):
        for position, name in enumerate(("batch rows", "tokens", "heads")):
            shape = [1, 1, 1, 8]
            shape[position] = many
            x = torch.zeros(8, device=DEVICE).expand(shape)
            decay = torch.zeros(1, device=DEVICE).expand(shape[2])
            refused(f"query has {many} {name}.*, expected at most", [x, x, x, decay])


def forward(q, k, v, decay, cu_seqlens=None, borders=None, max_seqlen=0, window=0, scale=None, backend="auto"):
    return torch.ops.rse.attention_forward(q, k, v, decay, cu_seqlens, borders, max_seqlen, False, window, "per_side",
                                           True, "drop", 10000.0, scale, 1e-7, False, backend, True)


def case_forward_operator():
    """The lower operator takes the same arguments and a host copy of cu_seqlens."""
    arguments, cu_seqlens = packed()
    for borders, message in (([0, 70], "borders has 2 entries, expected the 4 of cu_seqlens"),
                             ([0, 30, 40, 69], "borders.* is|ends at 69"),
                             ([0, INT64_MAX, INT64_MIN, 70], "borders.* is|cu_seqlens.* is"),
                             ([0, 2**62, INT64_MAX, 70], "borders.* is|cu_seqlens.* is")):
        refused(message, arguments, call=lambda *x: forward(*x, cu_seqlens=cu_seqlens, borders=borders))
    refused("borders has 2 entries, expected the 0 of cu_seqlens", call=lambda *x: forward(*x, borders=[0, 70]))
    refused("window is -3", call=lambda *x: forward(*x, window=-3))
    refused("scale is 1e.?38", call=lambda *x: forward(*x, scale=1e38))
    refused("max_seqlen is -3", call=lambda *x: forward(*x, max_seqlen=-3))
    refused("query is None", call=lambda q, *x: forward(None, *x))
    for window in (2**62, INT64_MAX):
        assert torch.isfinite(forward(*tensors(), window=window)[0]).all()


def case_backward_operator():
    """What attention_backward takes besides must be of the shape and dtype that attention_forward returned."""
    arguments = [x.detach() for x in tensors()]
    out, rem, extent, saved = forward(*arguments)
    good = {"grad_out": out, "grad_rem": rem, "out": out, "rem": rem, "extent": extent, "saved": saved}

    def backward(tail=tuple(arguments), window=0, **changes):
        tensors_ = {**good, **changes}
        return torch.ops.rse.attention_backward(*tensors_.values(), *tail, None, None, 0, False, window, "per_side",
                                                True, "drop", 10000.0, None, 1e-7, False, "auto")

    expected = backward()
    for name in ("grad_out", "out", "rem", "extent"):
        refused(f"{name} has shape", call=lambda *_: backward(**{name: good[name][:1]}))
        refused(f"{name} has shape", call=lambda *_: backward(**{name: good[name][0]}))
        refused(f"{name} has dtype", call=lambda *_: backward(**{name: good[name].to(torch.float64)}))
        refused(f"{name} is None", call=lambda *_: backward(**{name: None}))
        refused("device|is on", call=lambda *_: backward(**{name: good[name].to(other_device())}))
    refused("grad_rem has shape", call=lambda *_: backward(grad_rem=rem[:1]))
    refused("grad_rem has dtype", call=lambda *_: backward(grad_rem=rem.half()))
    refused("saved has dtype", call=lambda *_: backward(saved=saved.double()))
    refused("saved has shape", call=lambda *_: backward(saved=saved[None]))
    refused("saved is None", call=lambda *_: backward(saved=None))
    refused("window is -1", call=lambda *_: backward(window=-1))
    for position, name in enumerate(("query", "key", "value", "decay")):
        tail = [None if n == position else x for n, x in enumerate(arguments)]
        refused(f"{name} is None", call=lambda *_: backward(tail))
    if DEVICE == "cpu":
        for value in (-1, 71, 2**31 - 1, -2**31):
            spoilt = extent.clone()
            spoilt[1, 2, 40, 1] = value
            refused(f"extent at token 40 is {value}, expected", call=lambda *_: backward(extent=spoilt))
        refused("extent at token .* is", call=lambda *_: backward(window=3))
    else:
        refused("saved has .* bytes, expected", call=lambda *_: backward(saved=saved[:-1]))
    same(expected, backward())


def case_meta():
    """Tensors without values, as torch.compile uses them, are checked as far as shapes go."""
    refused(r"key has shape \[2, 69, 3, 16\]", changed(1, lambda x: x[:, 1:], tensors(device="meta")))
    refused("window is -1", tensors(device="meta"), window=-1)
    refused("scale is", tensors(device="meta"), scale=1e300)
    refused("key is None", changed(1, lambda x: None, tensors(device="meta")))
    out, _ = torch.ops.rse.attention(*tensors(device="meta"), window=INT64_MAX)
    assert out.shape == (2, 70, 3, 16)


def case_compiled():
    """An error inside torch.compile, whose sizes are symbols, is an error too."""
    function = torch.compile(lambda *x: torch.ops.rse.attention(*x), backend="aot_eager", dynamic=True)
    refused("key has shape", changed(1, lambda x: x[:, 1:]), call=function)
    refused("decay has shape", changed(3, lambda x: x[:2]), call=function)
    refused("head_dim is", tensors((1, 4, 2, 12)), call=function)


def case_second_order():
    arguments = tensors()
    out, _ = torch.ops.rse.attention(*arguments)
    (grad,) = torch.autograd.grad(out.square().sum(), arguments[0], create_graph=True)
    try:
        torch.autograd.grad(grad.sum(), arguments[0])
    except RuntimeError as error:
        assert "second-order gradient" in str(error), str(error)
    else:
        raise AssertionError("no error")


if __name__ == "__main__":
    library, libtorch, DEVICE, case = sys.argv[1:]
    if os.path.realpath(libtorch) != os.path.realpath(torch.__path__[0]):
        print(f"this Python's torch is {torch.__path__[0]}, but the library's is {libtorch}")
        sys.exit(77)
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print("there is no CUDA device")
        sys.exit(77)
    torch.ops.load_library(library)
    globals()["case_" + case]()
