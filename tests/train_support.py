"""What the tests of geist train from outside share: running the program in a folder, small texts and recipes.

Each file of tests that imports this is run as: FILE GEIST [unittest arguments]
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

GEIST = sys.argv[1] if len(sys.argv) > 1 else "geist"
TIMEOUT_S = 120


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="geist-train-"))

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def geist(self, *arguments, input=b"", code=0):
        run = subprocess.run([GEIST, *map(str, arguments)], input=input, capture_output=True, timeout=TIMEOUT_S)
        self.assertEqual(run.returncode, code, run.stderr.decode())
        return run

    def file(self, name, contents):
        path = self.folder / name
        path.write_text(contents)
        return path


def english(paragraphs):
    """Text with enough to merge in it, the same at every call."""
    words = "the little fox went over to a green hill and saw three birds by an old tree".split()
    lines = []
    for i in range(paragraphs):
        lines.append(" ".join(words[(i * 7 + k * k) % len(words)] for k in range(12 + i % 5)) + ".")
    return "\n".join(lines) + "\n"


RECIPE = """
out = "{out}"
[model]
tokenizer = "tok.gguf"
layers = 1
width = 32
heads = 2
context = 32
[data]
files = ["text.txt"]
split_bytes = 400
validation_share = 0.2
[train]
steps = {steps}
batch_rows = 4
checkpoint_every = 5
validate_every = 20
[optimizer]
learning_rate = 0.01
warmup_steps = 3
"""


SFT_RECIPE = """
out = "{out}"
[model]
from = "base/model.gguf"
[data]
files = ["chats.jsonl", "alpaca.json"]
validation_share = 0.2
{data}
[train]
steps = {steps}
batch_rows = 2
context = 96
checkpoint_every = 5
validate_every = 20
[optimizer]
learning_rate = 0.01
"""


class Chats(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "text.txt").write_text(english(400))
        (cls.folder / "base.toml").write_text(RECIPE.format(out="base", steps=5).replace("context = 32", "context = 128"))
        for command in (["tokenizer", "--data", cls.folder / "text.txt", "--vocab", "300", "--out", cls.folder / "tok.gguf"],
                        ["base", cls.folder / "base.toml"]):
            subprocess.run([GEIST, "train", *command], check=True, capture_output=True, timeout=TIMEOUT_S)
        lines = english(60).splitlines()
        with (cls.folder / "chats.jsonl").open("w") as f:
            for i in range(20):
                f.write(json.dumps({"messages": [{"role": "user", "content": lines[i][:20]},
                                                 {"role": "assistant", "content": lines[i][20:40]}]}) + "\n")
        (cls.folder / "alpaca.json").write_text(json.dumps(
            [{"instruction": lines[i][:15], "input": "", "output": "the " * (90 if i == 21 else 2)}
             for i in range(20, 40)]))
        with (cls.folder / "pairs.jsonl").open("w") as f:
            for i in range(40):
                f.write(json.dumps({"prompt": lines[i][:12], "chosen": "a green hill", "rejected": "an old tree"}) + "\n")
        with (cls.folder / "tasks.jsonl").open("w") as f:
            for i in range(20):
                f.write(json.dumps({"prompt": lines[i][:12], "answer": "hill"}) + "\n")

    def log(self, out):
        return [json.loads(line) for line in (self.folder / out / "log.jsonl").read_text().splitlines()]


RL_RECIPE = """
out = "{out}"
{algorithm}
[model]
from = "base/model.gguf"
{tables}
[train]
steps = {steps}
batch_rows = 4
rows_at_once = 3
checkpoint_every = 3
validate_every = 6
[optimizer]
learning_rate = 0.003
warmup_steps = 1
"""
PAIRS = '[data]\nfiles = ["pairs.jsonl"]\nvalidation_share = 0.3\n'
TASKS = '[tasks]\nfiles = ["tasks.jsonl"]\n[rollout]\ngroup = 4\ntokens_max = 6\n[policy]\nvalidation_tasks = 4\n'
