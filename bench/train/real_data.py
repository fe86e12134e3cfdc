#!/usr/bin/env python3
"""What training does on real data: a chat model fine-tuned by LoRA, reward models of preferences, and a file that Geist
wrote in llama.cpp. Prints a line for each and exits with 1 when one is not what it should be.

usage: bench/train/real_data.py SHARED [--only lora,polite,harmless,peer] [--work FOLDER] [--csv FILE] [-t THREADS]

SHARED is a folder with models/minimind2-small (a chat model of 26M), sft/instruction_1100.json, preferences/dpo_1100.json
and preferences/hh_harmless.jsonl. A run that was stopped goes on; the last part needs Node.js and installs the peer
(bench/peer.py).

  lora      30 steps on English instructions lower the loss of held-out conversations
  polite    a reward model of polite answers and rude ones is right on held-out pairs more often than chance, by two standard
            errors, and than a rule that sees nothing but length
  harmless  the same of hh-rlhf's harmless half, which people ranked
  peer      the F16 file of the chat model: log-probabilities as tests/oracle/compare.py wants them
"""
import argparse
import csv
import json
import math
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GEIST = ROOT / "build" / "release" / "geist"

LORA = """
out = "lora"
seed = 1
[model]
from = "{shared}/models/minimind2-small"
[data]
files = ["{shared}/sft/instruction_1100.json"]
validation_share = 0.1
too_long = "drop"
[lora]
rank = 16
[train]
steps = 30
batch_rows = 2
context = 192
validate_every = 30
checkpoint_every = 10
[optimizer]
learning_rate = 5e-4
warmup_steps = 5
"""

REWARD = """
out = "{out}"
seed = 1
[model]
from = "{shared}/models/minimind2-small"
[data]
files = ["{shared}/preferences/{file}"]
validation_share = 0.3
context = {context}
[train]
steps = {steps}
batch_rows = 8
rows_at_once = 8
validate_every = {validate}
checkpoint_every = 20
[optimizer]
learning_rate = {rate}
warmup_steps = 10
schedule = "cosine"
"""


def train(args, stage, recipe, out):
    """Runs the stage; gives its log and what it said."""
    path = args.work / f"{out}.toml"
    path.write_text(recipe.strip() + "\n")
    done = subprocess.run([GEIST, "train", stage, path, "-t", str(args.threads)], stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"geist train {stage} failed:\n{done.stderr[-2000:]}")
    log = [json.loads(line) for line in (args.work / out / "log.jsonl").read_text().splitlines()]
    return log, done.stderr


def lora(args):
    log, _ = train(args, "lora", LORA.format(shared=args.shared), "lora")
    losses = [row["validation_loss"] for row in log if "validation_loss" in row]
    return losses[-1] < losses[0], f"held-out loss {losses[0]:.3f} before, {losses[-1]:.3f} after"


def reward(args, out, file, context, steps, rate):
    recipe = REWARD.format(shared=args.shared, out=out, file=file, context=context, steps=steps, rate=rate,
                           validate=steps // 4)
    said = train(args, "reward", recipe, out)[1]
    found = re.search(r"(\d+) held-out pairs: accuracy ([\d.]+) \(by length alone ([\d.]+)\)", said)
    pairs, accuracy, length = int(found[1]), float(found[2]), float(found[3])
    error = math.sqrt(0.25 / pairs)
    return (accuracy > 0.5 + 2 * error and accuracy > length,
            f"{pairs} held-out pairs: accuracy {accuracy:.3f}, by length alone {length:.3f}, a standard error is "
            f"{error:.3f}")


def peer(args):
    model = args.work / "minimind2-small-f16.gguf"
    if not model.exists():
        subprocess.run([GEIST, "convert", args.shared / "models/minimind2-small", model], check=True)
    done = subprocess.run([sys.executable, ROOT / "tests/oracle/compare.py", "--model", model], stdout=subprocess.PIPE,
                          text=True)
    return done.returncode == 0, " ".join(done.stdout.split())


PARTS = {
    "lora": lora,
    "polite": lambda args: reward(args, "polite", "dpo_1100.json", 256, 100, "5e-5"),
    "harmless": lambda args: reward(args, "harmless", "hh_harmless.jsonl", 512, 160, "2e-5"),
    "peer": peer,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/real_data")
    parser.add_argument("--csv", type=pathlib.Path)
    parser.add_argument("-t", "--threads", type=int, default=2)
    args = parser.parse_args()
    args.shared = args.shared.resolve()
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in args.only.split(","):
        good, what = PARTS[name](args)
        rows.append({"part": name, "verdict": "holds" if good else "DOES NOT HOLD", "measured": what})
        print(f"{name:9} {rows[-1]['verdict']:14} {what}", flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    sys.exit(any(row["verdict"] != "holds" for row in rows))


if __name__ == "__main__":
    main()
