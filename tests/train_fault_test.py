#!/usr/bin/env python3
"""What geist train does when the world fails: numbers that overflow, a full disk, kill -9 while a checkpoint is written,
a damaged shard, two runs in one folder, Ctrl-C. Each is one clear line, and the run goes on to the same weights.

usage: train_fault_test.py GEIST [unittest arguments]
"""
import array
import math
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import time
import unittest

from train_support import Chats, GEIST, PAIRS, RECIPE, RL_RECIPE, SFT_RECIPE, TASKS, TIMEOUT_S


class Faults(Chats):
    def base(self, out, steps=40, **changes):
        """A recipe of the first stage; changes: other values of its keys."""
        text = RECIPE.format(out=out, steps=steps)
        for key, value in changes.items():
            text, count = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
            self.assertEqual(count, 1, key)
        return self.file(out.replace("/", "-").strip("-") + ".toml", text)

    def rl(self, out, algorithm, tables=PAIRS, steps=12):
        named = f'algorithm = "{algorithm}"' if algorithm else ""
        return self.file(out + ".toml", RL_RECIPE.format(out=out, algorithm=named, tables=tables, steps=steps))

    def start(self, stage, recipe):
        return subprocess.Popen([GEIST, "train", stage, recipe, "-t", "1", "--report-every", "1"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def until(self, process, begin):
        """Reads what the run says until a line begins so."""
        for line in process.stderr:
            if line.startswith(begin):
                return
        self.fail(f"the run ended before it said '{begin}'")

    def fault(self, stage, recipe, *messages):
        """The run fails with one line that has all of the messages; returned."""
        said = self.geist("train", stage, recipe, "-t", 1, code=1).stderr.decode()
        line = said.splitlines()[-1]
        self.assertTrue(line.startswith("geist: "), said)
        for message in messages:
            self.assertIn(message, line)
        return line

    def weights(self, stage, recipe):
        return self.geist("train", stage, recipe, "-t", 1).stdout.split()[-1]

    def checkpoints(self, out):
        folder = self.folder / out / "checkpoints"
        return sorted(int(p.stem.split("-")[1]) for p in folder.glob("step-*.gguf")) if folder.exists() else []

    def assert_nothing_partial(self, out):
        self.assertEqual([p for p in (self.folder / out).rglob("*") if ".tmp." in p.name], [])


class Divergence(Faults):
    def absurd(self, path):
        """Weights grow a hundredfold a step, until they overflow."""
        text = re.sub(r"(?m)^learning_rate = .*$", "learning_rate = 10\nweight_decay = 10\nschedule = 'constant'",
                      path.read_text())
        path.write_text(re.sub(r"(?m)^warmup_steps.*\n", "", text))
        return path

    def test_an_absurd_learning_rate_stops_every_stage_and_keeps_a_finite_checkpoint(self):
        for stage, out, recipe in (("base", "b", self.base("b", 60)),
                                   ("sft", "s", self.file("s.toml", SFT_RECIPE.format(out="s", steps=60, data=""))),
                                   ("reward", "w", self.rl("w", None, steps=60)),
                                   ("rl", "d", self.rl("d", "dpo", steps=60)),
                                   ("rl", "g", self.rl("g", "grpo", TASKS, steps=60))):
            with self.subTest(out):
                line = self.fault(stage, self.absurd(recipe), "step ", "not a finite number", "optimizer.learning_rate")
                kept = self.checkpoints(out)
                self.assertIn(f"checkpoint {kept[-1]} is kept", line)
                self.assertFalse((self.folder / out / "model.gguf").exists())
                # Again: from that checkpoint to the same line.
                self.assertEqual(self.fault(stage, recipe), line)
                for step in kept:
                    data = (self.folder / out / f"checkpoints/step-{step:08d}.gguf").read_bytes()
                    numbers = array.array("f", data[-(len(data) * 9 // 10 // 4 * 4):])  # behind the vocabulary
                    self.assertTrue(all(map(math.isfinite, numbers)))

    def poisoned(self, name, number):
        """The base with `number` in its last weights."""
        data = bytearray((self.folder / "base/model.gguf").read_bytes())
        data[-64:-32] = struct.pack("<8f", *[number] * 8)
        (self.folder / name).write_bytes(data)

    def test_a_poisoned_model_is_refused_by_every_stage(self):
        self.poisoned("nan.gguf", float("nan"))
        self.poisoned("huge.gguf", 3e38)
        shape = RECIPE[RECIPE.index("[model]"):RECIPE.index("[data]")]
        texts = [("base", RECIPE.replace(shape, '[model]\nfrom = "base/model.gguf"\n').format(out="p", steps=6)),
                 ("sft", SFT_RECIPE.format(out="p", steps=6, data="")),
                 ("reward", RL_RECIPE.format(out="p", algorithm="", tables=PAIRS, steps=6)),
                 ("rl", RL_RECIPE.format(out="p", algorithm='algorithm = "dpo"', tables=PAIRS, steps=6)),
                 ("rl", RL_RECIPE.format(out="p", algorithm='algorithm = "grpo"', tables=TASKS, steps=6))]
        for stage, text in texts:
            recipe = self.file("p.toml", text.replace("base/model.gguf", "nan.gguf"))
            self.fault(stage, recipe, "NaN or an infinity in '", "another model")
            self.assertEqual(self.checkpoints("p"), [])
        for stage, text in texts[:2]:
            recipe = self.file("p.toml", text.replace("base/model.gguf", "huge.gguf"))
            self.fault(stage, recipe, "not a finite number", "before anything was learned")
            self.assertEqual(self.checkpoints("p"), [])


class Disk(Faults):
    def test_a_full_disk(self):
        """A file system with room for two checkpoints and not for the third."""
        whole = self.weights("base", self.base("whole"))
        size = max(p.stat().st_size for p in (self.folder / "whole/checkpoints").iterdir())
        disk = self.folder / "disk"
        disk.mkdir()
        recipe = self.base(f"{disk}/run")
        script = f"""mount -t tmpfs -o size={int(size * 2.6)} none '{disk}' || exit 77
            '{GEIST}' train base '{recipe}' -t 1 2>'{self.folder}/full' >&2; code=$?
            find '{disk}' -type f >'{self.folder}/left'; [ $code = 1 ] || exit 78
            mount -o remount,size={size * 20} '{disk}'; exec '{GEIST}' train base '{recipe}' -t 1"""
        try:
            run = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, timeout=TIMEOUT_S)
        except FileNotFoundError:
            self.skipTest("there is no unshare to mount a small disk with")
        if run.returncode in (1, 77) and not (self.folder / "full").exists():
            self.skipTest("a small disk cannot be mounted here")
        said = (self.folder / "full").read_text()
        self.assertEqual(run.returncode, 0, said + run.stderr.decode())
        line = said.splitlines()[-1]
        self.assertTrue(line.startswith("geist: "), said)
        self.assertIn("No space left on device", line)
        self.assertIn("checkpoint 10 is kept: the same command goes on from it", line)
        self.assertNotIn(".tmp.", (self.folder / "left").read_text())
        self.assertIn(b"going on from step 10", run.stderr)
        self.assertEqual(run.stdout.split()[-1], whole)

    def test_a_limit_on_the_size_of_files(self):
        whole = self.weights("base", self.base("w", 300))
        recipe = self.base("limited", 300)
        size = (self.folder / "w/model.gguf").stat().st_size
        process = self.start("base", recipe)
        self.until(process, "step 12/")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size // 2, size // 2))
        said = process.communicate(timeout=TIMEOUT_S)[1]
        self.assertEqual(process.returncode, 1, said)
        line = said.splitlines()[-1]
        kept = self.checkpoints("limited")[-1]
        self.assertGreaterEqual(kept, 10)
        self.assertIn("File too large", line)
        self.assertIn(f"checkpoint {kept} is kept", line)
        self.assert_nothing_partial("limited")
        self.assertEqual(self.weights("base", recipe), whole)


class Killed(Faults):
    def test_kill_9_while_checkpoints_are_written_never_loses_the_last(self):
        whole = self.weights("base", self.base("whole", 400, checkpoint_every=1))
        recipe = self.base("killed", 400, checkpoint_every=1)
        moments, folder, newest, torn = random.Random(4), self.folder / "killed/checkpoints", 0, 0
        for i in range(16):
            process = self.start("base", recipe)
            if newest > 0:
                self.until(process, f"geist: going on from step {newest} ")
            deadline = time.monotonic() + TIMEOUT_S
            while self.checkpoints("killed")[-1:] <= [newest] and process.poll() is None:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.002)
            if i % 2 == 0:
                time.sleep(moments.random() * 0.05)
            else:  # within the writing, as near as can be
                while process.poll() is None and not any(".tmp." in name for name in os.listdir(folder)):
                    pass
            process.kill()
            said = process.communicate(timeout=TIMEOUT_S)[1]
            self.assertNotIn("cannot be used", said)
            torn += any(".tmp." in name for name in os.listdir(folder))
            before, newest = newest, self.checkpoints("killed")[-1]
            self.assertGreater(newest, before)
        run = self.geist("train", "base", recipe, "-t", 2)
        self.assertEqual(run.stdout.split()[-1], whole)
        self.assert_nothing_partial("killed")
        print(f"{torn} of 16 kills left a checkpoint half written", file=sys.stderr)

    def test_a_damaged_shard_stops_a_run_that_goes_on_when_it_is_mended(self):
        self.geist("train", "data", "--data", self.folder / "text.txt", "--tokenizer", self.folder / "tok.gguf", "--out",
                   self.folder / "s", "--validation-share", 0, "--near", 0)
        text = RECIPE.replace('files = ["text.txt"]', 'shards = ["s"]').replace("split_bytes = 400\n", "")
        whole = self.weights("base", self.file("whole.toml", text.format(out="shard-whole", steps=40)))
        recipe = self.file("shard.toml", text.format(out="shard", steps=40))
        process = self.start("base", recipe)
        self.until(process, "step 7/")
        process.kill()
        process.communicate(timeout=TIMEOUT_S)
        shard = next((self.folder / "s").glob("train-*"))
        good = shard.read_bytes()
        shard.write_bytes(good[:1000] + bytes([good[1000] ^ 4]) + good[1001:])
        self.fault("base", recipe, shard.name, "damaged")
        self.assertGreaterEqual(self.checkpoints("shard")[-1], 5)
        shard.write_bytes(good)
        self.assertEqual(self.weights("base", recipe), whole)


class Interrupts(Faults):
    def test_control_c_stops_behind_a_step_and_the_run_goes_on_to_the_same_weights(self):
        for stage, algorithm, tables in (("reward", None, PAIRS), ("rl", "dpo", PAIRS), ("rl", "grpo", TASKS)):
            with self.subTest(algorithm or stage):
                name = algorithm or stage
                whole = self.weights(stage, self.rl(name + "-whole", algorithm, tables, steps=40))
                recipe = self.rl(name, algorithm, tables, steps=40)
                process = self.start(stage, recipe)
                self.until(process, "step 5/")
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=TIMEOUT_S)[1]
                self.assertEqual(process.returncode, 130, said)
                self.assertIn("the same command goes on from there", said.splitlines()[-1])
                self.assertFalse((self.folder / name / "model.gguf").exists())
                run = self.geist("train", stage, recipe, "-t", 2)
                self.assertIn(f"going on from step {re.findall('after step ([0-9]+);', said)[0]} ", run.stderr.decode())
                self.assertEqual(run.stdout.split()[-1], whole)

    def test_a_second_run_in_the_same_folder_is_refused(self):
        recipe = self.base("twice", 100000)
        process = self.start("base", recipe)
        self.until(process, "step 6/")
        self.fault("base", recipe, "another run is going on in this folder")
        self.assertIsNone(process.poll())
        process.kill()
        process.communicate(timeout=TIMEOUT_S)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
