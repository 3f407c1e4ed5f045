"""Tests the CUDA kernels under load: repeated backward passes, 131,072 tokens, documents of mixed lengths.

usage: stress_kernels.py path/to/librse_ops.so [--repeats 500]
It needs a GPU and the Python torch that the library was built with. The exit code is 1 where a result is not finite,
changes between repeats by more than float32 additions in another order may change it, or differs between the kernels.
"""

import argparse
import statistics
import sys

import torch

SEED = 1


def inputs(shape):
    torch.manual_seed(SEED)
    q, k, v, grad = (torch.randn(shape, device="cuda").bfloat16() for _ in range(4))
    decay = torch.logspace(-3.7, 0.5, shape[-2], device="cuda")
    return [x.requires_grad_(True) for x in (q, k, v, decay)], grad


def attend(tensors, backend="auto", skip_below=0.0, borders=None, deterministic=False):
    """Runs the forward pass. `borders` is a pair: on the CPU and on the GPU."""
    on_cpu, on_gpu = borders or (None, None)
    return torch.ops.rse.attention_forward(
        *tensors, on_gpu, on_cpu, 0, False, 0, "per_side", True, "drop", 10000.0, None, skip_below, deterministic,
        backend, True)[0]


def gradients(tensors, grad, **options):
    return torch.autograd.grad(attend(tensors, **options), tensors, grad)


def distance(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def repeat(batch, seq, head_dim, repeats, deterministic):
    """Runs the backward pass `repeats` times and returns the largest distance of a gradient from that of the first pass,
    or NaN where a gradient is not finite."""
    tensors, grad = inputs((batch, seq, 12, head_dim))
    first = gradients(tensors, grad, deterministic=deterministic)
    worst = torch.zeros((), device="cuda", dtype=torch.float64)
    for _ in range(repeats):
        for now, before in zip(gradients(tensors, grad, deterministic=deterministic), first):
            worst = torch.maximum(worst, (now.double() - before.double()).norm() / before.double().norm())
    return worst.item()


def long_sequence(seq):
    """Returns (largest distance between the paths' gradients, peak bytes of the faster path) for one sequence of 2 heads."""
    tensors, grad = inputs((1, seq, 2, 64))
    torch.cuda.reset_peak_memory_stats()
    fast = gradients(tensors, grad)
    peak = torch.cuda.max_memory_allocated()
    other = gradients(tensors, grad, backend="portable")
    return max(distance(a, b) for a, b in zip(fast, other)), peak


def milliseconds(calls, rounds=21):
    """Returns the median time of each call. The calls are interleaved."""
    times = [[] for _ in calls]
    flush = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    for n in range(rounds):
        for call, mine in zip(calls, times):
            flush.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            if n > 0:
                mine.append(start.elapsed_time(end))
    return [statistics.median(mine) for mine in times]


def mixed_lengths(tokens, mean):
    """Returns the borders of text cut at random, whose lengths are geometric, and of equal lengths with as many pairs."""
    generator = torch.Generator().manual_seed(SEED)
    cuts = torch.nonzero(torch.rand(tokens - 1, generator=generator) < 1 / mean).flatten() + 1
    mixed = torch.cat([torch.tensor([0]), cuts, torch.tensor([tokens])])
    equal = round((mixed.diff().double() ** 2).sum().item() / tokens)
    borders = torch.arange(0, tokens + equal, equal).clamp(max=tokens).unique()
    return mixed, borders


def varlen(tokens, mean, skip_below):
    """Returns (milliseconds of mixed lengths, of equal lengths, documents, equal length) of forward and backward pass."""
    tensors, grad = inputs((tokens, 12, 64))
    mixed, equal = mixed_lengths(tokens, mean)
    calls = [lambda b=(b.tolist(), b.int().cuda()): gradients(tensors, grad, borders=b, skip_below=skip_below)
             for b in (mixed, equal)]
    pairs = [(b.diff().double() ** 2).sum().item() for b in (mixed, equal)]
    times = milliseconds(calls)
    return times[0], times[1] * pairs[0] / pairs[1], len(mixed) - 1, int(equal[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library")
    parser.add_argument("--repeats", type=int, default=500)
    arguments = parser.parse_args()
    torch.ops.load_library(arguments.library)
    print(torch.cuda.get_device_name(), "torch", torch.__version__, "seed", SEED)
    failed = False
    for batch, seq, head_dim in ((16, 2048, 64), (4, 8192, 64), (1, 32768, 64), (4, 8192, 128)):
        for deterministic in (False, True):
            repeats = arguments.repeats if not deterministic else max(1, arguments.repeats // 10)
            worst = repeat(batch, seq, head_dim, repeats, deterministic)
            bad = not worst <= (0.0 if deterministic else 1e-4)
            failed |= bad
            print(f"{repeats} backward passes, batch {batch}, N {seq}, D {head_dim}, deterministic {deterministic}: "
                  f"largest distance from the first {worst:.2e}{'  TOO FAR' if bad else ''}", flush=True)
    worst, peak = long_sequence(131072)
    failed |= not worst <= 1e-2
    print(f"N 131,072, 2 heads of 64: distance between the paths {worst:.2e}, peak {peak / 2**20:.0f} MiB")
    for skip_below in (0.0, 1e-7):
        mixed, equal, documents, length = varlen(32768, 300, skip_below)
        print(f"32,768 tokens in {documents} documents cut at random (mean 300), skip_below {skip_below}: "
              f"{mixed:.3f} ms; as many pairs in lengths of {length}: {equal:.3f} ms; ratio {mixed / equal:.3f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
