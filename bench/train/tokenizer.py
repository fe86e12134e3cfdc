#!/usr/bin/env python3
"""Training a tokenizer: geist beside Hugging Face's tokenizers, alternating, and their merges compared.

usage: tokenizer.py GEIST PEER_FOLDER TEXT... [--runs N] [--threads N] [--csv FILE]

PEER_FOLDER is where `npm install tokenizers` was run. The peer reads lines and drops their ends, so both get one line
a document, without white space at its end.
"""
import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time


def merges_of(path):
    merges = json.loads(path.read_text())["model"]["merges"]
    return [m if isinstance(m, str) else " ".join(m) for m in merges]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("geist")
    parser.add_argument("peer")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv")
    o = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="geist-bench-"))
    lines = [line.rstrip() for path in o.text for line in open(path, encoding="utf-8", errors="replace")]
    lines = [line for line in lines if line]
    (folder / "text.txt").write_text("\n".join(lines) + "\n")
    with (folder / "text.jsonl").open("w") as f:
        f.writelines(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in lines)
    size = (folder / "text.txt").stat().st_size
    script = pathlib.Path(__file__).resolve().parent / "peer_tokenizers.mjs"
    rows, vocab = [], None
    for run in range(o.runs):
        peer = subprocess.run(["node", script, folder / "peer.json", folder / "text.txt"], cwd=o.peer, check=True,
                              capture_output=True, env={**os.environ, "RAYON_NUM_THREADS": str(o.threads)})
        peer_s = json.loads(peer.stdout)["seconds"]
        vocab = vocab or len(merges_of(folder / "peer.json")) + 265
        begin = time.monotonic()
        subprocess.run([o.geist, "train", "tokenizer", "--data", folder / "text.txt", "--pre", "gpt-2", "--separator",
                        "", "--vocab", str(vocab), "--out", folder / "g.gguf", "-t", str(o.threads)],
                       check=True, capture_output=True)
        rows.append({"run": run, "bytes": size, "threads": o.threads, "geist_s": round(time.monotonic() - begin, 3),
                     "tokenizers_s": round(peer_s, 3)})
        print(rows[-1], flush=True)
    subprocess.run([o.geist, "train", "tokenizer", "--data", folder / "text.jsonl", "--pre", "gpt-2", "--min-count", "1",
                    "--vocab", str(vocab), "--out", folder / "g.gguf", "--json", folder / "g.json"], check=True,
                   capture_output=True)
    same = merges_of(folder / "g.json") == merges_of(folder / "peer.json")
    ratio = statistics.median(r["tokenizers_s"] / r["geist_s"] for r in rows)
    geist_s = statistics.median(r["geist_s"] for r in rows)
    print(f"{size / 1e6:.1f} MB, {vocab} tokens, {o.threads} threads: geist {size / 1e6 / geist_s:.1f} MB/s, "
          f"{ratio:.1f} times tokenizers; the same {vocab - 265} merges: {same}")
    if o.csv:
        with open(o.csv, "w", newline="") as f:
            writer = csv.DictWriter(f, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
