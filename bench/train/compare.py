#!/usr/bin/env python3
"""Training steps of Geist and PyTorch, one after the other in one run; medians of paired ratios.

usage: compare.py TRAIN_STEP [--steps N] [--threads N] [--cpu] [--python PYTHON] SHAPE:BATCH:TOKENS ...

On a machine that others use too, --cpu --threads 1 compares processor time instead of wall time.
"""
import argparse
import os
import pathlib
import statistics
import subprocess


def start(command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def processor_s(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def step(process, cpu):
    begin = processor_s(process)
    process.stdin.write("\n")
    process.stdin.flush()
    wall = float(process.stdout.readline().split()[0])
    return processor_s(process) - begin if cpu else wall


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train_step")
    parser.add_argument("shapes", nargs="+")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", default="2")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--python", default="/usr/bin/python3")
    a = parser.parse_args()
    print("shape,batch,tokens,threads,geist_tokens_per_s,torch_tokens_per_s,ratio")
    for shape in a.shapes:
        name, batch, tokens = shape.split(":")
        peer = str(pathlib.Path(__file__).with_name("peer_torch.py"))
        both = [start([a.train_step, name, batch, tokens, "-t", a.threads]),
                start([a.python, peer, name, batch, tokens, a.threads])]
        for process in both:
            step(process, a.cpu)  # the first step allocates
        times = [[step(process, a.cpu) for process in both] for _ in range(a.steps)]
        work = int(batch) * int(tokens)
        ours, theirs = (work / statistics.median(column) for column in zip(*times))
        ratio = statistics.median(t[1] / t[0] for t in times)
        print(f"{name},{batch},{tokens},{a.threads},{ours:.1f},{theirs:.1f},{ratio:.2f}", flush=True)
        for process in both:
            process.stdin.close()
            process.wait()


main()
