#!/usr/bin/env python3
"""Times geist and llama.cpp in turn on the same files and prints medians of paired ratios.

usage: bench/compare.py MODEL.gguf [--types Q4_0,Q8_0,Q4_K_M,F16] [--threads 1,2] [--rounds 5]
                        [--prefill 512] [--decode 64] [--cpu VARIANT] [--csv FILE]

MODEL is requantised to each type (geist quantize) into bench/.cache. The peer is llama.cpp as shipped
in the npm package node-llama-cpp, installed into .peers/ (ignored by git). It picks the best of its
builds for this processor; --cpu icelake (or haswell, skylakex, ...) leaves it only that one, for
machines whose newest units (AMX) geist does not use yet.
"""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys

from peer import install_peer

ROOT = pathlib.Path(__file__).resolve().parent.parent
GEIST = ROOT / "build" / "release" / "geist"

def run_json(command, cwd=None):
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def run_geist(model, threads, args):
    result = run_json([GEIST, "bench", model, "-t", threads, "-p", args.prefill, "-n", args.decode,
                       "-r", 2, "--json"])
    return {row["work"]: row["tokens_per_s"] for row in result["results"]}


def run_peer(folder, model, threads, args):
    return run_json(["node", ROOT / "bench/peer_llama.mjs", model, threads, args.prefill, args.decode, 2],
                    cwd=folder)


def requantised(model, kind):
    out = ROOT / "bench/.cache" / f"{model.stem}.{kind}.gguf"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([GEIST, "quantize", model, out, kind], check=True)
    return out


def compare(kind, model, threads, args, peer):
    pairs = []
    for _ in range(args.rounds):  # in turn, so that a change of the machine's speed meets both
        pairs.append((run_geist(model, threads, args), run_peer(peer, model, threads, args)))
    row = {"type": kind, "threads": threads, "bytes": model.stat().st_size,
           "peer_backend": pairs[0][1]["backend"]}
    for work in ("prefill", "decode"):
        row[f"{work}_geist"] = round(statistics.median(g[work] for g, _ in pairs), 2)
        row[f"{work}_peer"] = round(statistics.median(p[work] for _, p in pairs), 2)
        row[f"{work}_ratio"] = round(statistics.median(g[work] / p[work] for g, p in pairs), 3)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--types", default="Q4_0,Q8_0,Q4_K_M,F16")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--cpu", default="")
    parser.add_argument("--csv", type=pathlib.Path)
    args = parser.parse_args()
    peer = install_peer(args.cpu)
    rows = []
    for kind in args.types.split(","):
        model = args.model.resolve() if kind == "asis" else requantised(args.model.resolve(), kind)
        for threads in map(int, args.threads.split(",")):
            rows.append(compare(kind, model, threads, args, peer))
            r = rows[-1]
            print(f"{kind:8} t={threads}  prefill {r['prefill_geist']:8.1f} / {r['prefill_peer']:8.1f} = "
                  f"{r['prefill_ratio']:5.2f}   decode {r['decode_geist']:7.2f} / {r['decode_peer']:7.2f} = "
                  f"{r['decode_ratio']:5.2f}", flush=True)
    if args.csv:
        args.csv.parent.mkdir(parents=True, exist_ok=True)
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
