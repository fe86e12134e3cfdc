#!/usr/bin/env python3
"""Training steps of Geist and a peer, one after the other in one run: medians of paired ratios, and the peak of
each process's memory (ru_maxrss).

usage: compare.py TRAIN_STEP [--peer torch|llmc] [--steps N] [--threads N] [--cpu]
                  [--csv OUT.csv] SHAPE:BATCH:TOKENS ...
       compare.py --table CSV

The peer torch is peer_torch.py under --python; llmc is a program built from peer_llmc.c, named by --llmc (GPT-2 124M only).
On a machine that others use too, --cpu --threads 1 compares processor time instead of wall time.
"""
import argparse
import csv
import os
import pathlib
import statistics
import subprocess
import sys

COLUMNS = ["shape", "batch", "tokens", "threads", "peer", "geist_tokens_per_s", "peer_tokens_per_s", "ratio",
           "geist_peak_mb", "peer_peak_mb", "load_average"]


def start(command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def processor_s(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def step(process, cpu):
    begin = processor_s(process)
    process.stdin.write("\n")
    process.stdin.flush()
    answer = process.stdout.readline().split()
    if not answer:
        sys.exit(f"compare.py: {process.args[0]} ended without an answer; run it by hand to see why")
    return processor_s(process) - begin if cpu else float(answer[0])


def end(process):
    """Peak memory in MB of a process that has nothing left to do."""
    process.stdin.close()
    process.stdout.read()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return usage.ru_maxrss / 1024


def peer_command(a, shape):
    if a.peer == "llmc":
        if not a.llmc:
            sys.exit("compare.py: --peer llmc needs --llmc PROGRAM; peer_llmc.c says how to build it")
        return [a.llmc, *shape, a.threads]
    return [a.python, str(pathlib.Path(__file__).with_name("peer_torch.py")), *shape, a.threads]


def compare(a, shape):
    both = [start([a.train_step, *shape, "-t", a.threads]), start(peer_command(a, shape))]
    for process in both:
        step(process, a.cpu)  # the first step allocates
    times = [[step(process, a.cpu) for process in both] for _ in range(a.steps)]
    work = int(shape[1]) * int(shape[2])
    ours, theirs = (work / statistics.median(column) for column in zip(*times))
    ratio = statistics.median(t[1] / t[0] for t in times)
    peaks = [end(process) for process in both]
    return [*shape, a.threads, a.peer, f"{ours:.1f}", f"{theirs:.1f}", f"{ratio:.2f}", f"{peaks[0]:.0f}",
            f"{peaks[1]:.0f}", f"{os.getloadavg()[0]:.1f}"]


def print_table(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    print("| shape | threads | peer | Geist tokens/s | peer | ratio | Geist peak MB | peer | load |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for r in rows:
        cells = [f"{r['shape']} B={r['batch']} T={r['tokens']}"] + [r[c] for c in COLUMNS[3:]]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train_step", nargs="?")
    parser.add_argument("shapes", nargs="*")
    parser.add_argument("--peer", choices=["torch", "llmc"], default="torch")
    parser.add_argument("--llmc")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--csv", help="write there too")
    parser.add_argument("--table", metavar="CSV", help="print a CSV of this program as Markdown")
    a = parser.parse_intermixed_args()
    if a.table:
        return print_table(a.table)
    if not a.shapes:
        parser.error("give TRAIN_STEP and shapes, or --table CSV")
    files = [open(a.csv, "w")] if a.csv else []
    for file in [sys.stdout, *files]:
        print(",".join(COLUMNS), file=file, flush=True)
    for shape in a.shapes:
        row = ",".join(compare(a, shape.split(":")))
        for file in [sys.stdout, *files]:
            print(row, file=file, flush=True)


main()
