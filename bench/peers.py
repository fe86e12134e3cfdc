"""The programs that bench/compare.py times, each behind one call: a file and a list of works in, rates out.

A work is a dict: work ("prefill", "decode"), tokens, depth (tokens in the cache before), batch (sequences side
by side). first_token is the number of tokens of PROMPT, or 0 for not to be timed. A run gives {"rates": [tokens/s for each work], "first_token_s": seconds or None, "peak_mb": MB}.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

from peer import ROOT, install_peer

GEIST = ROOT / "build" / "release" / "geist"
PROMPT = "One two three."


def measured(command, cwd=None):
    """Runs a command; gives its output, wall seconds and peak resident memory in MB."""
    command = [str(c) for c in command]
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{err[-2000:]}")
    return out, time.monotonic() - start, usage.ru_maxrss / 1024


def prompt_tokens(model):
    """How many tokens the prompt of "first token" is; peers read as many."""
    words = [GEIST, "tokenize", model, "--json"]
    done = subprocess.run(words, input=PROMPT, stdout=subprocess.PIPE, text=True, check=True)
    return len(json.loads(done.stdout))


class Geist:
    name = "geist"

    def run(self, model, threads, works, repeats, first_token):
        rates, peak, first = [], 0.0, None
        for work in works:
            prefill = work["work"] == "prefill"
            out, _, mb = measured([GEIST, "bench", model, "-t", threads, "-r", repeats, "--json",
                                   "-p", work["tokens"] if prefill else 0, "-n", 0 if prefill else work["tokens"],
                                   "-d", work["depth"], "-b", work["batch"]])
            rates.append(json.loads(out)["results"][-1]["tokens_per_s"])
            peak = max(peak, mb)
        if first_token:
            # The whole command, starting and ending of the program included.
            _, first, _ = measured([GEIST, "run", model, "-p", PROMPT, "-n", 1, "-t", threads, "--temp", 0])
        return {"rates": rates, "first_token_s": first, "peak_mb": peak}


class LlamaCpp:
    """llama.cpp as the npm package node-llama-cpp ships it, the best of its builds for this processor, called from C:
    the package's own script engine takes a time for each token that is not llama.cpp's."""
    name = "llama.cpp"

    def __init__(self, cpu=""):
        self.libraries = install_peer(cpu) / "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
        self.backend = ""
        self.program = ROOT / "bench/.cache/peer_llama"
        self.program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-o", self.program, ROOT / "bench/peer_llama.c", "-ldl"], check=True)

    def run(self, model, threads, works, repeats, first_token):
        plan = [f"{w['work']}:{w['tokens']}:{w['depth']}:{w['batch']}" for w in works]
        command, rates, peak, first = [self.program, self.libraries, model, threads, repeats], [], 0.0, None
        if plan:
            out, _, peak = measured([*command, 0, *plan])
            result = json.loads(out)
            rates, self.backend = result["rates"], " ".join(result["backend"].split())
        if first_token:  # the whole command, as for geist
            _, first, _ = measured([*command, first_token])
        return {"rates": rates, "first_token_s": first, "peak_mb": peak}


class IkLlamaCpp:
    """ik_llama.cpp from a build folder of the user's, with run-time repacking. It times prefill and decode at
    depth 0; other works get no rate."""
    name = "ik_llama.cpp"
    backend = "native build, run-time repacking"

    def __init__(self, folder):
        self.bench = pathlib.Path(folder) / "bin" / "llama-bench"
        if not self.bench.exists():
            sys.exit(f"{self.bench} is missing; build it: cmake -B build -DGGML_NATIVE=ON && cmake --build build "
                     "--target llama-bench, in a checkout of ik_llama.cpp")

    def run(self, model, threads, works, repeats, first_token):
        rates, peak = [], 0.0
        for work in works:
            if work["depth"] > 0 or work["batch"] > 1:
                rates.append(None)
                continue
            prefill = work["work"] == "prefill"
            out, _, mb = measured([self.bench, "-m", model, "-t", threads, "-r", repeats, "-rtr", 1, "-o", "json",
                                   "-p", work["tokens"] if prefill else 0, "-n", 0 if prefill else work["tokens"]])
            rates.append(json.loads(out[out.index("["):])[-1]["avg_ts"])
            peak = max(peak, mb)
        return {"rates": rates, "first_token_s": None, "peak_mb": peak}
