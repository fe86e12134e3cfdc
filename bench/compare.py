#!/usr/bin/env python3
"""Times geist and its peers in turn on the same files and writes medians of paired ratios.

  bench/compare.py                                   the table of the README: shapes 135m, 1b, 7b
  bench/compare.py --shapes 1b --types Q4_0,Q8_0 --threads 1 --works prefill,decode
  bench/compare.py --model mine.gguf --types asis
  bench/compare.py --table bench/results/compare.csv that CSV as the Markdown of the README
  bench/compare.py --ik ~/ik_llama.cpp/build         ik_llama.cpp beside them

The models of the shapes have random weights and are made into bench/.cache (bench/make_model.cc); --model is
requantised to each type. The peer is llama.cpp as shipped in the npm package node-llama-cpp, installed into .peers/
(both folders are ignored by git); it picks the best of its builds for this processor. --cpu icelake (or haswell,
skylakex, ...) leaves it only that one, for machines whose newest units (AMX) geist is not to be compared with.

Works: prefill (512 tokens), prefill4k and prefill16k (512 tokens after so many), decode (one sequence), batch4, batch16
and batch64 (sequences side by side, tokens of all together), start (seconds from start to first token, and peak
memory). A ratio above 1 says that geist is faster (or, for start and memory, needs less).
"""
import argparse
import csv
import pathlib
import statistics
import subprocess
import sys

import chart
from peers import GEIST, ROOT, Geist, IkLlamaCpp, LlamaCpp, prompt_tokens

WORKS = {
    "prefill": {"work": "prefill", "tokens": 512, "depth": 0, "batch": 1},
    "prefill4k": {"work": "prefill", "tokens": 512, "depth": 4096, "batch": 1},
    "prefill16k": {"work": "prefill", "tokens": 512, "depth": 16384, "batch": 1},
    "decode": {"work": "decode", "tokens": 64, "depth": 0, "batch": 1},
    "batch4": {"work": "decode", "tokens": 32, "depth": 0, "batch": 4},
    "batch16": {"work": "decode", "tokens": 16, "depth": 0, "batch": 16},
    "batch64": {"work": "decode", "tokens": 8, "depth": 0, "batch": 64},
}


def shape_model(shape, kind):
    out = ROOT / "bench/.cache" / f"{shape}.{kind}.gguf"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        maker = ROOT / "build/release/bench_make_model"
        subprocess.run(["cmake", "--build", ROOT / "build/release", "--target", "bench_make_model"], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([maker, shape, kind, out], check=True)
    return out


def requantised(model, kind):
    if kind == "asis":
        return model
    out = ROOT / "bench/.cache" / f"{model.stem}.{kind}.gguf"
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([GEIST, "quantize", model, out, kind], check=True)
    return out


def compare(shape, kind, model, threads, args, peers):
    """One row for each work and peer. In turn, so that a change of the machine's speed meets all."""
    names = [name for name in args.works if name in WORKS]
    works = [WORKS[name] for name in names]
    start = prompt_tokens(model) if "start" in args.works else 0
    rounds = [[p.run(model, threads, works, args.repeats, start) for p in [Geist(), *peers]]
              for _ in range(args.rounds)]
    rows = []

    def add(work, peer, unit, pick, lower_is_better=False):
        pairs = [(pick(r[0]), pick(r[1 + peers.index(peer)])) for r in rounds]
        if any(p is None for _, p in pairs):
            return
        ratios = [p / g if lower_is_better else g / p for g, p in pairs]
        rows.append({"shape": shape, "type": kind, "threads": threads, "work": work, "unit": unit, "peer": peer.name,
                     "geist": round(statistics.median(g for g, _ in pairs), 3),
                     "peer_value": round(statistics.median(p for _, p in pairs), 3),
                     "ratio": round(statistics.median(ratios), 3), "rounds": len(pairs), "peer_build": peer.backend})

    for peer in peers:
        for i, name in enumerate(names):
            add(name, peer, "tokens/s", lambda run, i=i: run["rates"][i])
        if start:
            add("first token", peer, "s", lambda run: run["first_token_s"], lower_is_better=True)
        if start and names:
            add("peak memory", peer, "MB", lambda run: run["peak_mb"], lower_is_better=True)
    return rows


def words(text):
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF file, instead of the shapes")
    parser.add_argument("--shapes", type=words, default=words("135m,1b,7b"))
    parser.add_argument("--types", type=words, default=words("Q4_0,Q8_0,Q4_K_M,Q6_K,F16"))
    parser.add_argument("--threads", type=lambda text: [int(t) for t in words(text)], default=[1, 2])
    parser.add_argument("--works", type=words, default=[*WORKS, "start"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2, help="of each work in a round")
    parser.add_argument("--cpu", default="", help="the only build of llama.cpp to use")
    parser.add_argument("--ik", type=pathlib.Path, help="build folder of ik_llama.cpp")
    parser.add_argument("--csv", type=pathlib.Path, help="the table; FILE.svg beside it is the picture")
    parser.add_argument("--append", action="store_true", help="keep the rows that --csv has of other models")
    parser.add_argument("--table", type=pathlib.Path, help="print this CSV as Markdown and do nothing else")
    args = parser.parse_args()
    if args.table:
        with args.table.open(newline="") as file:
            print(chart.markdown(list(csv.DictReader(file))), end="")
        return
    unknown = [name for name in args.works if name not in WORKS and name != "start"]
    if unknown:
        parser.error(f"unknown work {unknown[0]}; known: {', '.join([*WORKS, 'start'])}")
    peers = [LlamaCpp(args.cpu)] + ([IkLlamaCpp(args.ik)] if args.ik else [])
    rows = []
    if args.csv and args.append and args.csv.exists():
        with args.csv.open(newline="") as file:
            rows = list(csv.DictReader(file))
    for shape in [args.model.stem] if args.model else args.shapes:
        for kind in args.types:
            model = requantised(args.model.resolve(), kind) if args.model else shape_model(shape, kind)
            for threads in args.threads:
                measured = compare(shape, kind, model, threads, args, peers)
                key = lambda row: tuple(str(row[k]) for k in ("shape", "type", "threads", "work", "peer"))
                replaced = {key(row) for row in measured}
                rows = [row for row in rows if key(row) not in replaced] + measured
                for row in measured:
                    print(f"{shape:6} {kind:7} t={threads} {row['work']:12} {row['geist']:9.2f} / "
                          f"{row['peer_value']:9.2f} {row['unit']:8} = {row['ratio']:5.2f}  {row['peer']}", flush=True)
                if args.csv:  # after each model: hours of work are not lost to Ctrl-C
                    args.csv.parent.mkdir(parents=True, exist_ok=True)
                    with args.csv.open("w", newline="") as file:
                        writer = csv.DictWriter(file, fieldnames=rows[0].keys())
                        writer.writeheader()
                        writer.writerows(rows)
                    chart.write(rows, args.csv.with_suffix(".svg"))


if __name__ == "__main__":
    sys.exit(main())
