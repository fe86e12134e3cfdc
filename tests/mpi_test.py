#!/usr/bin/env python3
"""geist train base under mpirun: the weights of 1, 2 and 4 processes, and a process that dies. Ends with code 77
(skipped) without mpirun or the module that it needs.

usage: mpi_test.py GEIST [unittest arguments]
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import unittest

import train_support
from train_support import Case, RECIPE, TIMEOUT_S, english

GEIST = pathlib.Path(train_support.GEIST).absolute()
# Open MPI refuses root and more processes than cores unless told otherwise.
ENVIRONMENT = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                            "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}


class Mpi(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "text.txt").write_text(english(300))
        subprocess.run([GEIST, "train", "tokenizer", "--data", cls.folder / "text.txt", "--vocab", "300", "--out",
                        cls.folder / "tok.gguf"], check=True, capture_output=True, timeout=TIMEOUT_S)

    def command(self, count, out, steps=8, every=4, leaf_rows=1, more=""):
        text = RECIPE.replace("checkpoint_every = 5\nvalidate_every = 20\n",
                              f"leaf_rows = {leaf_rows}\ncheckpoint_every = {every}\nvalidate_every = 4\n")
        recipe = self.file(f"{out}.toml", text.format(out=out, steps=steps) + more)
        mpirun = [] if count == 1 else ["mpirun", "--oversubscribe", "-n", count]
        return [str(word) for word in [*mpirun, GEIST, "train", "base", recipe, "-t", 1]]

    def train(self, *arguments, code=0, **options):
        run = subprocess.run(self.command(*arguments, **options), capture_output=True, timeout=TIMEOUT_S,
                             env=ENVIRONMENT)
        self.assertEqual(run.returncode, code, run.stderr.decode())
        return run

    def test_the_weights_do_not_depend_on_the_number_of_processes(self):
        files = {}
        for count in 1, 2, 4:
            run = self.train(count, f"n{count}")
            self.assertEqual(run.stdout.count(b"weights_sha256"), 1)
            files[count] = [(self.folder / f"n{count}" / name).read_bytes()
                            for name in ("model.gguf", "checkpoints/step-00000004.gguf")]
            log = [json.loads(line) for line in (self.folder / f"n{count}/log.jsonl").read_text().splitlines()]
            files[count].append([{k: v for k, v in e.items() if k != "tokens_per_s"} for e in log])
        for count in 2, 4:
            self.assertEqual(files[1][2], files[count][2])
            self.assertEqual(files[1][0], files[count][0])

    def test_a_process_that_dies_ends_the_job_which_goes_on_later(self):
        job = subprocess.Popen(self.command(2, "killed", steps=3000, every=5), stderr=subprocess.PIPE, text=True,
                               env=ENVIRONMENT)
        said = ""
        for line in job.stderr:
            said += line
            if line.startswith("step 20/"):
                ranks = subprocess.run(["pgrep", "-P", str(job.pid), "-f", "train base"], capture_output=True, text=True)
                os.kill(int(ranks.stdout.split()[-1]), signal.SIGKILL)
                break
        said += job.communicate(timeout=TIMEOUT_S)[1]
        self.assertNotEqual(job.returncode, 0)
        self.assertRegex(said, r"geist: rank [01] of 2 has died \(killed, or out of memory\), so the job stops: run the "
                               r"same command again, it goes on from checkpoint \d+\n")
        self.assertEqual(said.count("geist: rank"), 1)
        left = [int(p.stem.split("-")[1]) for p in (self.folder / "killed/checkpoints").glob("step-*.gguf")]
        self.assertGreaterEqual(max(left), 15)
        # Stopped again at once by Ctrl-C: the first line says where it goes on.
        again = subprocess.Popen(self.command(2, "killed", steps=3000, every=5), stderr=subprocess.PIPE, text=True,
                                 env=ENVIRONMENT)
        for line in again.stderr:
            if "going on from step" in line:
                break
        self.assertIn(f"step {max(left)} ", line)
        again.kill()
        again.communicate(timeout=TIMEOUT_S)

    def test_faults_are_said_once(self):
        run = self.train(2, "muon", more='kind = "muon"\n', code=1)
        self.assertEqual(run.stderr.count(b"adamw"), 1)
        run = self.train(3, "three", code=1)
        self.assertEqual(run.stderr.count(b"power of two"), 1)
        run = self.train(4, "leaves", more="", code=1, leaf_rows=2)
        self.assertEqual(run.stderr.count(b"leaf_rows"), 1)


if __name__ == "__main__":
    if shutil.which("mpirun") is None or not (GEIST.parent / "geist_mpi.so").exists():
        print("skipped: no mpirun, or geist was built without MPI")
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
