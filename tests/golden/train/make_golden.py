#!/usr/bin/env python3
"""Makes golden gradients and a loss curve with PyTorch (Debian 12's python3-torch, 1.13), for
tests/golden_train_test.cc: 50 steps of AdamW on the golden models, F32, one thread.

usage: make_golden.py           writes NAME.json beside itself
"""
import json
import math
import pathlib
import struct

import numpy as np
import torch
from torch.nn import functional as F

HERE = pathlib.Path(__file__).resolve().parent
ROWS, TOKENS, STEPS, RATE = 4, 33, 50, 1e-3


def read_gguf(path):
    """Metadata and F32 tensors of a GGUF v3 file whose tensors are F32 or F16."""
    data, at = path.read_bytes(), 8

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return value

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n:at].decode()

    forms = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner = take("I")
            return [value(inner) for _ in range(take("Q"))]
        return take(forms[kind])

    count, keys = take("Q"), take("Q")
    metadata = {}
    for _ in range(keys):
        name = text()
        metadata[name] = value(take("I"))
    infos = []
    for _ in range(count):
        name = text()
        dims = [take("Q") for _ in range(take("I"))]
        infos.append((name, dims, take("I"), take("Q")))
    start = (at + 31) // 32 * 32
    tensors = {}
    for name, dims, kind, offset in infos:
        dtype = {0: np.float32, 1: np.float16}[kind]
        flat = np.frombuffer(data, dtype, math.prod(dims), start + offset)
        tensors[name] = torch.tensor(flat.astype(np.float32).reshape(dims[::-1]))
    return metadata, tensors


def batches(vocab):
    """Step s trains on rows of ids from one linear congruential sequence, every third batch anew."""
    state, out = 12345, []
    for _ in range(3):
        ids = []
        for _ in range(ROWS * TOKENS):
            state = (1103515245 * state + 12345) % 2**31
            ids.append((state >> 8) % vocab)
        out.append(torch.tensor(ids).view(ROWS, TOKENS))
    return out


class Model:
    def __init__(self, metadata, tensors):
        self.arch = metadata["general.architecture"]
        self.m = {k[len(self.arch) + 1:]: v for k, v in metadata.items() if k.startswith(self.arch)}
        self.p = {k: torch.nn.Parameter(v) for k, v in tensors.items()}

    def linear(self, x, base):
        return F.linear(x, self.p[base + ".weight"], self.p.get(base + ".bias"))

    def norm(self, x, base):
        if self.arch == "gpt2":
            return F.layer_norm(x, x.shape[-1:], self.p[base + ".weight"], self.p[base + ".bias"],
                                self.m["attention.layer_norm_epsilon"])
        eps = self.m["attention.layer_norm_rms_epsilon"]
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * self.p[base + ".weight"]

    def rotate(self, x):
        if self.arch == "gpt2":
            return x
        n = self.m.get("rope.dimension_count", x.shape[-1])
        frequency = self.m.get("rope.freq_base", 10000.0) ** (-torch.arange(0, n, 2).double() / n)
        angle = torch.outer(torch.arange(x.shape[-2]).double(), frequency)
        cos, sin = angle.cos().float(), angle.sin().float()
        rotated, rest = x[..., :n], x[..., n:]
        if self.arch == "llama":
            a, b = rotated[..., 0::2], rotated[..., 1::2]
            out = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
        else:
            a, b = rotated.chunk(2, -1)
            out = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
        return torch.cat((out, rest), -1)

    def block(self, x, base):
        b, t, _ = x.shape
        heads = self.m["attention.head_count"]
        kv_heads = self.m.get("attention.head_count_kv", heads)
        h = self.norm(x, base + "attn_norm")
        if base + "attn_qkv.weight" in self.p:
            q, k, v = self.linear(h, base + "attn_qkv").chunk(3, -1)
        else:
            q, k, v = (self.linear(h, base + "attn_" + n) for n in "qkv")
        q = self.rotate(q.view(b, t, heads, -1).transpose(1, 2))
        k = self.rotate(k.view(b, t, kv_heads, -1).transpose(1, 2))
        v = v.view(b, t, kv_heads, -1).transpose(1, 2)
        k, v = (y.repeat_interleave(heads // kv_heads, 1) for y in (k, v))
        score = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        mask = torch.ones(t, t, dtype=torch.bool).triu(1)
        out = score.masked_fill(mask, float("-inf")).softmax(-1) @ v
        x = x + self.linear(out.transpose(1, 2).reshape(b, t, -1), base + "attn_output")
        h = self.norm(x, base + "ffn_norm")
        up = self.linear(h, base + "ffn_up")
        if base + "ffn_gate.weight" in self.p:
            up = F.silu(self.linear(h, base + "ffn_gate")) * up
        else:
            up = F.gelu(up, approximate="tanh")
        return x + self.linear(up, base + "ffn_down")

    def loss(self, ids):
        x = F.embedding(ids[:, :-1], self.p["token_embd.weight"])
        if "position_embd.weight" in self.p:
            x = x + self.p["position_embd.weight"][:x.shape[1]]
        for i in range(self.m["block_count"]):
            x = self.block(x, f"blk.{i}.")
        head = "output" if "output.weight" in self.p else "token_embd"
        logits = self.linear(self.norm(x, "output_norm"), head)
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def main():
    torch.set_num_threads(1)
    for name in ("llama-f16", "qwen2", "gpt2"):
        metadata, tensors = read_gguf(HERE.parent / "models" / (name + ".gguf"))
        model = Model(metadata, tensors)
        data = batches(tensors["token_embd.weight"].shape[0])
        groups = [{"params": [p for p in model.p.values() if (p.dim() > 1) == decays],
                   "weight_decay": 0.1 if decays else 0.0} for decays in (True, False)]
        optimizer = torch.optim.AdamW(groups, RATE, betas=(0.9, 0.95), eps=1e-8)
        golden = {"torch": torch.__version__, "losses": [], "norms": [], "gradients": {}}
        for step in range(STEPS):
            loss = model.loss(data[step % 3])
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                # The length of each tensor's gradient, and its product with 1, -1/2, 1/3, ...
                for key, p in model.p.items():
                    g = p.grad.double().flatten()
                    i = torch.arange(1, g.numel() + 1).double()
                    signs = torch.where(i % 2 == 1, 1.0, -1.0)
                    golden["gradients"][key] = [g.norm().item(), (g * signs / i).sum().item()]
            norm = torch.nn.utils.clip_grad_norm_(model.p.values(), 1.0)
            optimizer.step()
            golden["losses"].append(round(loss.item(), 7))
            golden["norms"].append(round(norm.item(), 7))
        (HERE / (name + ".json")).write_text(json.dumps(golden, indent=0) + "\n")
        print(name, golden["losses"][0], golden["losses"][-1])


main()
