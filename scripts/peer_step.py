#!/usr/bin/env python3
"""Measures the training step of one PyTorch encoder, as a process that scripts/bench_peers.py starts; needs PyTorch.

    peer_step.py plain|huggingface SIZES_JSON

SIZES_JSON: {"layers", "width", "heads", "ffn_width", "vocab", "seq_len", "batch", "steps", "warmup", "device", "dtype",
"threads", "compile_mode"}. One line of JSON goes to stdout: {"ms": [one number for each step], "peak_bytes", "torch"}.
A step is zero_grad, forward, backward, clipping at norm 1 and AdamW, on one fixed batch with 15 % targets, dropout 0. On
CUDA the steps queue behind each other, and events on the device time them.
"""
import contextlib
import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

TARGET_SHARE = 0.15
FIRST_ORDINARY_ID = 5


class Layer(nn.Module):
    """Pre-norm; queries, keys and values come from one product."""

    def __init__(self, sizes):
        super().__init__()
        width, ffn_width = sizes["width"], sizes["ffn_width"]
        self.heads = sizes["heads"]
        self.attention_norm, self.ffn_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.attention_output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.ffn_input, self.ffn_output = nn.Linear(width, ffn_width), nn.Linear(ffn_width, width)

    def forward(self, hidden):
        batch, seq_len, width = hidden.shape
        mixed = self.query_key_value(self.attention_norm(hidden))
        query, key, value = mixed.view(batch, seq_len, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        hidden = hidden + self.attention_output(attended.transpose(1, 2).reshape(batch, seq_len, width))
        return hidden + self.ffn_output(functional.gelu(self.ffn_input(self.ffn_norm(hidden))))


class PlainEncoder(nn.Module):
    """BERT's sizes; logits are made at the targets alone, by the tied embedding."""

    def __init__(self, sizes):
        super().__init__()
        width = sizes["width"]
        self.embedding, self.position = nn.Embedding(sizes["vocab"], width), nn.Embedding(sizes["seq_len"], width)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes["layers"]))
        self.final_norm, self.head_dense, self.head_norm = nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width)
        self.head_bias = nn.Parameter(torch.zeros(sizes["vocab"]))

    def forward(self, ids, target_positions, target_ids):
        hidden = self.embedding(ids) + self.position.weight[: ids.shape[1]]
        for layer in self.layers:
            hidden = layer(hidden)
        at_targets = self.final_norm(hidden).flatten(0, 1)[target_positions]
        features = self.head_norm(functional.gelu(self.head_dense(at_targets)))
        logits = functional.linear(features, self.embedding.weight, self.head_bias)
        return functional.cross_entropy(logits.float(), target_ids)


def random_batch(sizes):
    """Returns ids [batch, seq_len] and their targets: sorted positions into the flattened batch, and ids."""
    total = sizes["batch"] * sizes["seq_len"]
    ids = torch.randint(FIRST_ORDINARY_ID, sizes["vocab"], (sizes["batch"], sizes["seq_len"]))
    positions = torch.randperm(total)[: max(1, int(TARGET_SHARE * total))].sort().values
    targets = torch.randint(FIRST_ORDINARY_ID, sizes["vocab"], (len(positions),))
    return tuple(tensor.to(sizes["device"]) for tensor in (ids, positions, targets))


def make_plain(sizes):
    batch = random_batch(sizes)
    model = PlainEncoder(sizes).to(sizes["device"])
    compiled = torch.compile(model, mode=sizes["compile_mode"])
    return model, lambda: compiled(*batch)


def make_hugging_face(sizes):
    from transformers import BertConfig, BertForMaskedLM
    config = BertConfig(vocab_size=sizes["vocab"], hidden_size=sizes["width"], num_hidden_layers=sizes["layers"],
                        num_attention_heads=sizes["heads"], intermediate_size=sizes["ffn_width"],
                        max_position_embeddings=sizes["seq_len"], hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0, attn_implementation="sdpa")
    model = BertForMaskedLM(config).to(sizes["device"])
    model.train()
    ids, positions, targets = random_batch(sizes)
    labels = torch.full_like(ids, -100)
    labels.view(-1)[positions] = targets
    compiled = torch.compile(model, mode=sizes["compile_mode"])
    return model, lambda: compiled(input_ids=ids, labels=labels).loss


def attention_backends(name, cuda):
    if not cuda:
        return contextlib.nullcontext()
    if name == "plain":
        return sdpa_kernel(SDPBackend.CUDNN_ATTENTION)
    every = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(every, set_priority=True)


def measure(name, sizes):
    cuda = sizes["device"] == "cuda"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    if sizes["threads"] > 0:
        torch.set_num_threads(sizes["threads"])
    model, loss_of = (make_plain if name == "plain" else make_hugging_face)(sizes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        autocast = torch.autocast("cuda" if cuda else "cpu", dtype=torch.bfloat16, enabled=sizes["dtype"] == "bf16")
        with attention_backends(name, cuda), autocast:
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(sizes["warmup"]):
        step()
    if not cuda:
        times = []
        for _ in range(sizes["steps"]):
            begin = time.perf_counter()
            step()
            times.append(1e3 * (time.perf_counter() - begin))
        return {"ms": times, "peak_bytes": None, "torch": torch.__version__}
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(sizes["steps"] + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    times = [begin.elapsed_time(end) for begin, end in zip(events, events[1:])]
    return {"ms": times, "peak_bytes": torch.cuda.max_memory_allocated(), "torch": torch.__version__}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], json.loads(sys.argv[2]))))
