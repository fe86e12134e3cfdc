#!/usr/bin/env python3
"""Compares geist with llama.cpp over every architecture, on random weights and the same 200 tokens.

usage: tests/oracle/compare.py [--types F32,Q8_0] [--only NAME,...] [--cache F32] [--cpu haswell]
                               [--csv bench/results/oracle_vs_llama_cpp.csv]
       tests/oracle/compare.py --model minds/mini.gguf     a file of your own, on the README's first tokens

Builds oracle_models (release preset), which writes a model for each variant of tests/support/random_model.cc
and geist's logits; asks llama.cpp (bench/peer.py installs it) for its probabilities of the next token after
every token; prints the largest and the root-mean-square difference of log-probabilities over tokens with
p > 1e-4, and exits with 1 if one is above the tolerance (docs/oracle.md says why these). Of quantised weights
it also says how far either is from the same weights as F32.
"""
import argparse
import array
import csv
import json
import math
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "bench"))
from peer import install_peer  # noqa: E402

BUILD = ROOT / "build" / "release"
FOLDER = BUILD / "oracle"
GEIST = BUILD / "geist"
TOKENS = 200
PROBABILITY_MIN = 1e-4
# llama.cpp takes GELU from a table of F16 values.
GELU = {"bloom", "falcon", "gemma", "gemma2", "gemma3", "gpt2", "gptneox", "mpt", "phi2", "starcoder2",
        "bert"}

# What this version of the peer does not read.
NOT_READ = {"mixtral-split": "the peer reads experts in one table only; the weights are mixtral's"}


def tolerance(model):
    """(largest, root mean square) difference of log-probabilities, or of an embedding's elements."""
    if model["type"] == "F32":
        return (0.02, 0.002) if model["architecture"] in GELU else (0.0001, 0.00001)
    # Both round activations to 8 bits; in a mixture a rounding may choose another expert.
    return (math.inf if model["mixture"] else 0.5), 0.1


def build(types):
    subprocess.run(["cmake", "--preset", "release"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", "release", "--target", "oracle_models"], cwd=ROOT,
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run([BUILD / "oracle_models", FOLDER, *types], check=True)
    return json.loads((FOLDER / "index.json").read_text())


def model_file(path):
    """The same index for one GGUF file: its logits on the beginning of the README."""
    info = json.loads(subprocess.run([GEIST, "info", path, "--json"], check=True, capture_output=True).stdout)
    text = (ROOT / "README.md").read_bytes()[:TOKENS * 4]
    encoded = subprocess.run([GEIST, "tokenize", path, "--json"], check=True, input=text, capture_output=True)
    tokens = json.loads(encoded.stdout)[:min(TOKENS, info["context_length"])]
    FOLDER.mkdir(parents=True, exist_ok=True)
    stem = FOLDER / f"own-{path.stem}"
    shutil.copyfile(path, f"{stem}.gguf")
    rows = pathlib.Path(f"{stem}.npy")
    subprocess.run([GEIST, "logits", path, "--tokens", ",".join(map(str, tokens)), "--out", rows], check=True)
    values = rows.read_bytes()[-4 * len(tokens) * info["vocab_size"]:]  # behind the header of the .npy
    pathlib.Path(f"{stem}.f32").write_bytes(values)
    types = [row["type"] for row in info["types"] if row["type"] != "F32"]
    return {"tokens": tokens, "models": [{
        "name": path.name, "architecture": info["architecture"], "type": types[0] if types else "F32",
        "stem": str(stem), "row": info["vocab_size"], "embeds": False, "mixture": False}]}


def read(path, kind):
    out = array.array(kind)
    out.frombytes(path.read_bytes())
    return out


def ask_peer(folder, model, tokens, cache):
    """The peer's rows, or why there are none."""
    out = pathlib.Path(model["stem"] + ".peer")
    out.unlink(missing_ok=True)
    command = ["node", ROOT / "tests/oracle/peer.mjs", model["stem"] + ".gguf", ",".join(map(str, tokens)),
               model["row"], cache, out] + (["embed"] if model["embeds"] else [])
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != 0 or not out.exists():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()
                 and not line.startswith("    at")]
        return None, " ".join(lines[:3])[:200] or f"exit status {done.returncode}"
    return read(out, "d"), ""


def log_probabilities(logits):
    top = max(logits)
    log_sum = top + math.log(sum(math.exp(x - top) for x in logits))
    return [x - log_sum for x in logits]


def normal_form(model, values, ours):
    """Rows of log-probabilities (ours: from logits; the peer's: from probabilities); or a unit vector."""
    if model["embeds"]:
        length = math.sqrt(sum(x * x for x in values))
        return [[x / length for x in values]]
    rows = [values[i:i + model["row"]] for i in range(0, len(values), model["row"])]
    if ours:
        return [log_probabilities(row) for row in rows]
    return [[math.log(max(p, 1e-12)) for p in row] for row in rows]


def difference(model, a, b):
    """Largest and root mean square, over tokens that a thinks possible."""
    least = -math.inf if model["embeds"] else math.log(PROBABILITY_MIN)
    d = [abs(x - y) for row_a, row_b in zip(a, b) for x, y in zip(row_a, row_b) if x > least]
    return max(d), math.sqrt(sum(x * x for x in d) / len(d))


def compare(model, tokens, peer, cache):
    row = {"name": model["name"], "architecture": model["architecture"], "type": model["type"],
           "tokens": len(tokens), "compares": "embedding" if model["embeds"] else "log-probability"}
    theirs, why = ask_peer(peer, model, tokens, cache)
    if theirs is None:
        known = NOT_READ.get(model["name"])
        return row | {"verdict": "not read" if known else "FAILED", "note": known or why}
    theirs = normal_form(model, theirs, False)
    ours = normal_form(model, read(pathlib.Path(model["stem"] + ".f32"), "f"), True)
    worst, rms = difference(model, ours, theirs)
    worst_max, rms_max = tolerance(model)
    agrees = worst <= worst_max and rms <= rms_max
    row |= {"max": f"{worst:.2e}", "rms": f"{rms:.2e}", "max_allowed": worst_max if worst_max < math.inf else "",
            "rms_allowed": rms_max, "note": ""}
    if model["type"] != "F32" and pathlib.Path(model["stem"] + ".exact.f32").exists():
        exact = normal_form(model, read(pathlib.Path(model["stem"] + ".exact.f32"), "f"), True)
        from_exact, peer_from_exact = difference(model, exact, ours)[1], difference(model, exact, theirs)[1]
        row |= {"rms_from_exact": f"{from_exact:.2e}", "peer_rms_from_exact": f"{peer_from_exact:.2e}"}
        agrees = agrees and from_exact <= 1.5 * peer_from_exact
    return row | {"verdict": "agrees" if agrees else "DIFFERS"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--types", default="F32,Q8_0")
    parser.add_argument("--only", default="")
    parser.add_argument("--cache", default="F32", choices=["F32", "F16"])
    parser.add_argument("--cpu", default="haswell")
    parser.add_argument("--csv", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    args = parser.parse_args()
    peer = install_peer(args.cpu)
    index = model_file(args.model) if args.model else build(args.types.split(","))
    rows = []
    for model in index["models"]:
        if args.only and model["name"] not in args.only.split(","):
            continue
        r = compare(model, index["tokens"], peer, args.cache)
        rows.append(r)
        exact = (f"from exact {r['rms_from_exact']}, the peer {r['peer_rms_from_exact']}  "
                 if "rms_from_exact" in r else "")
        print(f"{r['name']:22} {r['type']:5} max {r.get('max', '-'):>9} rms {r.get('rms', '-'):>9}  {exact}"
              f"{r['verdict']} {r['note']}", flush=True)
    if args.csv:
        fields = ["name", "architecture", "type", "tokens", "compares", "max", "rms", "max_allowed",
                  "rms_allowed", "rms_from_exact", "peer_rms_from_exact", "verdict", "note"]
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fields)
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(any(r["verdict"] in ("DIFFERS", "FAILED") for r in rows))


if __name__ == "__main__":
    main()
