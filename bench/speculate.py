#!/usr/bin/env python3
"""Times geist run with and without speculative decoding, in turn, on texts that repeat themselves and on
texts that do not, and checks that the tokens are the same.

usage: bench/speculate.py MODEL.gguf [--draft SMALL.gguf] [--threads 1] [--rounds 5] [--predict 128] [--csv FILE]

The ratio is tokens a second with over tokens a second without; its median over pairs of neighbouring runs
withstands a machine that others use too. best_ratio compares the fastest run of each.
"""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
GEIST = ROOT / "build" / "release" / "geist"

CODE = """class Account:
    def __init__(self, owner, balance):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        self.balance = self.balance + amount
        return self.balance

    def withdraw(self, amount):
        self.balance = self.balance - amount
        return self.balance
"""
NOTE = """The museum opens at nine in the morning and closes at five in the afternoon. On Mondays it stays
closed. Tickets cost twelve crowns for adults and six for children. The garden behind the old hall may be
visited without a ticket, and dogs are welcome there."""

# name, repeats itself, prompt, options of the sampler
GREEDY = ["--temp", "0"]
SAMPLED = ["--temp", "0.8", "--seed", "7"]
TEXTS = [
    ("code_edit", True, f"# The file before:\n{CODE}\n# The same file after renaming balance to total:\nclass Account:\n",
     GREEDY),
    ("code_copy", True, f"# The file:\n{CODE}\n# The same file again, unchanged:\nclass Account:\n", GREEDY),
    ("quote", True, f"Notice: {NOTE}\n\nThe notice said, word for word: \"The museum opens", GREEDY),
    ("list", True, "1 apple\n2 apple\n3 apple\n4 apple\n5 apple\n6 apple\n7 apple\n", GREEDY),
    ("quote_sampled", True, f"Notice: {NOTE}\n\nThe notice said, word for word: \"The museum opens", SAMPLED),
    ("story_sampled", False, "Once upon a time, in a village by the sea,", SAMPLED),
    ("essay_sampled", False, "The history of the printing press begins", SAMPLED),
    ("story", False, "The old fisherman looked at the sky and", GREEDY),
    ("code_new", False, "def quicksort(values):\n", SAMPLED),
]


def run(args, prompt, options, speculation):
    command = [GEIST, "run", args.model, "-p", prompt, "-n", args.predict, "-t", args.threads, "--json", "--ignore-eos",
               *options, *speculation]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"geist run failed:\n{done.stderr}")
    return json.loads(done.stdout)


def measure(args, name, repeats, prompt, options):
    speculation = ["--draft", args.draft] if args.draft else ["--speculate", "ngram"]
    rates = {"off": [], "on": []}
    for _ in range(args.rounds):
        off = run(args, prompt, options, ["--speculate", "off"])
        on = run(args, prompt, options, speculation)
        if on["tokens"] != off["tokens"]:
            sys.exit(f"{name}: the tokens differ")
        rates["off"].append(off["timings"]["decode_tokens_per_s"])
        rates["on"].append(on["timings"]["decode_tokens_per_s"])
    pairs = [on / off for on, off in zip(rates["on"], rates["off"])]
    row = {"text": name, "repeats": int(repeats), "drafter": "model" if args.draft else "ngram",
           "threads": args.threads, "tokens": len(on["tokens"]),
           "off_tokens_per_s": round(statistics.median(rates["off"]), 2),
           "on_tokens_per_s": round(statistics.median(rates["on"]), 2),
           "ratio": round(statistics.median(pairs), 3),
           "best_ratio": round(max(rates["on"]) / max(rates["off"]), 3),
           "drafted": on["speculation"]["drafted"], "accepted": on["speculation"]["accepted"]}
    print(row, flush=True)
    return row


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--draft")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--predict", type=int, default=128)
    parser.add_argument("--only", help="names of texts, with commas between")
    parser.add_argument("--csv")
    args = parser.parse_args()
    rows = [measure(args, *text) for text in TEXTS if not args.only or text[0] in args.only.split(",")]
    if args.csv:
        with open(args.csv, "w", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
