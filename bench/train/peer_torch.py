#!/usr/bin/env python3
"""The steps of train_step in PyTorch, eager, F32: same shapes, same work. A line on standard input
asks for a step, its seconds come back.

usage: peer_torch.py SHAPE BATCH TOKENS THREADS

Debian: python3-torch and libopenblas0-pthread (without it torch falls back to the reference BLAS, 30 times slower).
"""
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {"gpt2-124m": dict(gpt=True, vocab=50257, layers=12, width=768, heads=12, ff=3072),
          "llama-12m": dict(gpt=False, vocab=4096, layers=6, width=384, heads=6, ff=1024),
          "tiny": dict(gpt=False, vocab=100, layers=1, width=32, heads=2, ff=96)}


class RmsNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate(x, cos, sin):
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        norm = nn.LayerNorm if s["gpt"] else RmsNorm
        width, ff, bias = s["width"], s["ff"], s["gpt"]
        self.attn_norm, self.ffn_norm = norm(width), norm(width)
        self.qkv = nn.Linear(width, 3 * width, bias)
        self.out = nn.Linear(width, width, bias)
        self.up, self.down = nn.Linear(width, ff, bias), nn.Linear(ff, width, bias)
        self.gate = None if s["gpt"] else nn.Linear(width, ff, False)

    def forward(self, x, mask, cos, sin):
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.s["heads"], -1).transpose(1, 2)
                   for y in self.qkv(self.attn_norm(x)).split(c, 2))
        if not self.s["gpt"]:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        score = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5)
        heads = score.masked_fill(mask, float("-inf")).softmax(-1) @ v
        x = x + self.out(heads.transpose(1, 2).reshape(b, t, c))
        h = self.ffn_norm(x)
        return x + (self.down(F.gelu(self.up(h), approximate="tanh")) if self.s["gpt"]
                    else self.down(F.silu(self.gate(h)) * self.up(h)))


class Model(nn.Module):
    def __init__(self, s, tokens):
        super().__init__()
        self.s = s
        self.embed = nn.Embedding(s["vocab"], s["width"])
        self.positions = nn.Embedding(tokens, s["width"]) if s["gpt"] else None
        self.blocks = nn.ModuleList(Block(s) for _ in range(s["layers"]))
        self.norm = nn.LayerNorm(s["width"]) if s["gpt"] else RmsNorm(s["width"])
        head = s["width"] // s["heads"]
        angle = torch.outer(torch.arange(tokens), 10000.0 ** (-torch.arange(0, head, 2) / head))
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())
        self.register_buffer("mask", torch.ones(tokens, tokens, dtype=torch.bool).triu(1))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, ids, targets):
        x = self.embed(ids)
        if self.positions is not None:
            x = x + self.positions.weight
        for block in self.blocks:
            x = block(x, self.mask, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embed.weight)  # tied
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def main():
    shape, batch, tokens, threads = sys.argv[1], *map(int, sys.argv[2:5])
    torch.manual_seed(1)
    torch.set_num_threads(threads)
    model = Model(SHAPES[shape], tokens)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    ids = torch.randint(0, SHAPES[shape]["vocab"], (batch, tokens + 1))
    for _ in sys.stdin:
        begin = time.perf_counter()
        loss = model(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        print(f"{time.perf_counter() - begin:.6f} loss {loss.item():.5f}", flush=True)


main()
