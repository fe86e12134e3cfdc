#!/usr/bin/env python3
"""geist train from outside: files, messages, exit codes, Ctrl-C.

usage: train_cli_test.py GEIST [unittest arguments]
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree

from train_support import Case, Chats, GEIST, PAIRS, RECIPE, RL_RECIPE, SFT_RECIPE, TASKS, TIMEOUT_S, english


class Tokenizer(Case):
    def test_help_and_usage(self):
        self.assertIn(b"tokenizer", self.geist("train", "--help").stdout)
        self.assertIn(b"--vocab", self.geist("help", "train", "tokenizer").stdout)
        run = self.geist("train", "tokenizer", code=2)
        self.assertIn(b"geist train tokenizer --help", run.stderr)
        self.assertEqual(run.stderr.count(b"\n"), 1)
        self.geist("train", "nothing", code=2)

    def test_same_file_on_any_thread_count_and_text_comes_back(self):
        text = self.file("text.txt", english(3000))
        chats = self.file("chats.jsonl", json.dumps({"text": "a fox, 中文"}) + "\n")
        files = []
        for threads in (1, 2, 3):
            out = self.folder / f"tok{threads}.gguf"
            self.geist("train", "tokenizer", "--data", text, chats, "--vocab", 320, "--out", out, "-t", threads)
            files.append(out.read_bytes())
        self.assertEqual(files[0], files[1])
        self.assertEqual(files[0], files[2])
        said = "The fox\tsaw 12 birds. 中文 \U0001f98a\n"
        ids = self.geist("tokenize", out, "--json", input=said.encode()).stdout
        self.assertLess(len(json.loads(ids)), len(said.encode()))
        back = self.geist("detokenize", out, input=ids).stdout
        self.assertIn(said.strip().encode(), back)

    def test_json_gives_the_same_ids(self):
        text = self.file("text2.txt", english(500))
        gguf, js = self.folder / "t.gguf", self.folder / "tokenizer.json"
        self.geist("train", "tokenizer", "--data", text, "--vocab", 300, "--out", gguf, "--json", js)
        said = english(20).encode()
        self.assertEqual(self.geist("tokenize", gguf, "--json", input=said).stdout,
                         self.geist("tokenize", js, "--json", input=said).stdout)

    def test_faults_are_one_line_and_write_nothing(self):
        out = self.folder / "none.gguf"
        for data, message in [(self.folder / "absent.txt", b"absent.txt"),
                              (self.file("bad.jsonl", '{"text": "a"}\n{"text"\n'), b"bad.jsonl:2:")]:
            run = self.geist("train", "tokenizer", "--data", data, "--out", out, code=1)
            self.assertIn(message, run.stderr)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)
            self.assertFalse(out.exists())

    def test_interrupt_leaves_nothing(self):
        big = self.folder / "big.jsonl"
        with big.open("w") as f:
            for i in range(60000):
                f.write(json.dumps({"text": english(8)}) + "\n")
        out = self.folder / "interrupted.gguf"
        process = subprocess.Popen([GEIST, "train", "tokenizer", "--data", big, big, big, big, "--out", out],
                                   stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(TIMEOUT_S), 130)
        self.assertEqual(list(self.folder.glob("interrupted*")), [])
        big.unlink()


class Base(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "text.txt").write_text(english(400))
        subprocess.run([GEIST, "train", "tokenizer", "--data", cls.folder / "text.txt", "--vocab", "300", "--out",
                        cls.folder / "tok.gguf"], check=True, capture_output=True, timeout=TIMEOUT_S)

    def recipe(self, out, steps=40, more=""):
        return self.file(out + ".toml", RECIPE.format(out=out, steps=steps) + more)

    def weights(self, recipe, threads):
        return self.geist("train", "base", recipe, "-t", threads).stdout.split()[-1]

    def log(self, out):
        return [json.loads(line) for line in (self.folder / out / "log.jsonl").read_text().splitlines()]

    def test_killed_and_resumed_gives_the_same_weights_as_any_thread_count(self):
        whole = self.weights(self.recipe("whole"), 1)
        process = subprocess.Popen([GEIST, "train", "base", self.recipe("killed"), "-t", "2"],
                                   stderr=subprocess.PIPE, text=True)
        for line in process.stderr:  # behind the checkpoint of step 5, somewhere
            if line.startswith("step 10/"):
                process.kill()
                break
        process.communicate(timeout=TIMEOUT_S)
        self.assertFalse((self.folder / "killed/model.gguf").exists())
        run = self.geist("train", "base", self.recipe("killed"), "-t", 3)
        self.assertIn(b"going on from step", run.stderr)
        self.assertEqual(run.stdout.split()[-1], whole)
        self.assertEqual((self.folder / "killed/model.gguf").read_bytes(),
                         (self.folder / "whole/model.gguf").read_bytes())
        for name in "loss", "gradient_norm", "validation_loss", "bits_per_byte":
            self.assertEqual([e[name] for e in self.log("whole") if name in e],
                             [e[name] for e in self.log("killed") if name in e])
        self.assertLess(self.log("whole")[-1]["validation_loss"], self.log("whole")[0]["loss"])
        self.assertLessEqual(len(list((self.folder / "whole/checkpoints").iterdir())), 2)
        self.assertTrue(self.geist("run", self.folder / "whole/model.gguf", "-p", "the little", "-n", 8).stdout)
        # A checkpoint is a model to train from, the same as the one that came of it.
        checkpoint = max((self.folder / "whole/checkpoints").iterdir())
        ends = set()
        for name in "whole/model.gguf", f"whole/checkpoints/{checkpoint.name}":
            text = RECIPE.format(out="further", steps=3)
            shape = text[text.index("[model]"):text.index("[data]")]
            recipe = self.file("further.toml", text.replace(shape, f'[model]\nfrom = "{name}"\n'))
            ends.add(self.weights(recipe, 2))
            shutil.rmtree(self.folder / "further")
        self.assertEqual(len(ends), 1)

    def test_what_is_kept_of_activations(self):
        def weights(out, more):
            return self.weights(self.file(out + ".toml", RECIPE.format(out=out, steps=4).replace("[train]\n", "[train]\n" + more)), 2)

        whole = weights("kept", "")
        self.assertEqual(weights("again", "recompute = true\n"), whole)
        rounded = weights("rounded", 'activations = "bf16"\n')
        self.assertNotEqual(rounded, whole)
        # What runs again in F32 is not rounded, the inputs of layers are.
        self.assertNotIn(weights("both", 'recompute = true\nactivations = "bf16"\n'), (whole, rounded))
        bad = self.file("bad.toml", RECIPE.format(out="bad", steps=4).replace("[train]\n", '[train]\nactivations = "int4"\n'))
        self.assertIn(b"f32, bf16", self.geist("train", "base", bad, code=1).stderr)

    def test_faults_are_one_line(self):
        for more, message in [("lerning_rate = 1\n", b"lerning_rate"), ("schedule = 'up'\n", b"schedule")]:
            run = self.geist("train", "base", self.recipe("fault", more=more), code=1)
            self.assertIn(message, run.stderr)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)
        self.assertFalse((self.folder / "fault").exists())
        self.geist("train", "base", self.folder / "absent.toml", code=1)


class Data(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "text.txt").write_text("\n<|endoftext|>\n".join(english(40)[i * 60:i * 60 + 900] for i in range(45)))
        unique = "".join(json.dumps({"text": f"line {i} " + " ".join(f"w{i}x{j}" for j in range(40))}) + "\n"
                         for i in range(300))
        near = json.dumps({"text": "line 7 " + " ".join(f"w7x{j}" for j in range(40)) + " more"}) + "\n"
        (cls.folder / "more.jsonl").write_text(unique + near + unique.splitlines()[3] + "\n")
        (cls.folder / "bad.txt").write_bytes(b"caf\xe9 is latin 1")
        subprocess.run([GEIST, "train", "tokenizer", "--data", cls.folder / "text.txt", cls.folder / "more.jsonl",
                        "--vocab", "400", "--out", cls.folder / "tok.gguf"], check=True, capture_output=True,
                       timeout=TIMEOUT_S)

    def shards(self, out, *more, code=0):
        files = [self.folder / name for name in ("more.jsonl", "text.txt", "bad.txt")]
        return self.geist("train", "data", "--data", *files, "--tokenizer", self.folder / "tok.gguf", "--out",
                          self.folder / out, "--shard-tokens", 8000, "--validation-share", 0.1, "--json", *more, code=code)

    def contents(self, out):
        return {p.name: p.read_bytes() for p in sorted((self.folder / out).iterdir())}

    def base(self, data, out):
        recipe = RECIPE.format(out=out, steps=4).replace('files = ["text.txt"]', data).replace("split_bytes = 400\n", "")
        return self.file(out + ".toml", recipe)

    def test_same_shards_on_any_thread_count_and_every_document_counted(self):
        reports = [json.loads(self.shards(f"t{n}", "-t", n).stdout) for n in (1, 2, 3)]
        self.assertEqual(self.contents("t1"), self.contents("t2"))
        self.assertEqual(self.contents("t1"), self.contents("t3"))
        report = reports[0]
        dropped = sum(count["documents"] for count in report["dropped"].values())
        self.assertEqual(report["read"]["documents"],
                         report["train"]["documents"] + report["validation"]["documents"] + dropped)
        self.assertEqual(report["dropped"]["utf8"]["documents"], 1)
        self.assertIn("bad.txt, document 1", report["dropped"]["utf8"]["first"])
        self.assertGreaterEqual(report["dropped"]["exact_duplicate"]["documents"], 1)
        self.assertGreaterEqual(report["dropped"]["near_duplicate"]["documents"], 1)
        self.assertGreater(report["validation"]["documents"], 10)
        self.assertGreater(len(report["shards"]), 3)
        for shard in report["shards"]:
            self.assertEqual((self.folder / "t1" / shard["file"]).read_bytes()[-32:].hex(), shard["sha256"])

    def test_shards_train_as_files_do(self):
        self.geist("train", "data", "--data", self.folder / "more.jsonl", "--tokenizer", self.folder / "tok.gguf",
                   "--out", self.folder / "s", "--validation-share", 0.2, "--near", 0, "--shard-tokens", 4000)
        lines = (self.folder / "more.jsonl").read_text().splitlines()
        (self.folder / "once.jsonl").write_text("\n".join(dict.fromkeys(lines)) + "\n")
        of_shards, of_files = (self.geist("train", "base", self.base(data, out)).stdout.split()[-1]
                               for data, out in (('shards = ["s"]', "of-shards"), ('files = ["once.jsonl"]', "of-files")))
        self.assertEqual(of_shards, of_files)

    def test_a_damaged_shard_is_one_line(self):
        self.shards("d")
        path = sorted((self.folder / "d").glob("train-*"))[0]
        whole = path.read_bytes()
        recipe = self.base('shards = ["d"]', "damaged")
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for contents in whole[:-9], whole[:50], b"", bytes(flipped), whole + b"x":
            path.write_bytes(contents)
            run = self.geist("train", "base", recipe, code=1)
            self.assertIn(path.name.encode(), run.stderr)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)
        path.unlink()
        self.assertIn(path.name.encode(), self.geist("train", "base", recipe, code=1).stderr)
        self.shards("d")  # makes it again
        self.assertEqual(path.read_bytes(), whole)
        (self.folder / "d/manifest.json").unlink()
        self.assertIn(b"manifest.json", self.geist("train", "base", recipe, code=1).stderr)
        self.assertFalse((self.folder / "damaged").exists())

    def test_another_tokenizer_is_refused(self):
        self.shards("o")
        self.geist("train", "tokenizer", "--data", self.folder / "text.txt", "--vocab", 300, "--out",
                   self.folder / "other.gguf")
        recipe = self.base('shards = ["o"]', "other")
        recipe.write_text(recipe.read_text().replace("tok.gguf", "other.gguf"))
        self.assertIn(b"another tokenizer", self.geist("train", "base", recipe, code=1).stderr)

    def test_usage_and_faults(self):
        self.geist("train", "data", code=2)
        recipe = self.file("data.toml", 'out = "r"\ntokenizer = "tok.gguf"\n[data]\nfiles = ["more.jsonl"]\n'
                           '[filter]\nwords_min = 41\n[duplicates]\nnear = 0\n')
        report = json.loads(self.geist("train", "data", recipe, "--json").stdout)
        self.assertEqual(report["train"]["documents"] + report["validation"]["documents"], 301)
        self.geist("train", "data", recipe, "--data", "x", code=2)
        recipe.write_text(recipe.read_text().replace("words_min", "word_min"))
        self.assertIn(b"words_min", self.geist("train", "data", recipe, code=1).stderr)
        run = self.shards("x", "--near", 1.5, code=1)
        self.assertIn(b"near_duplicates", run.stderr)
class Plan(Case):
    def test_published_run_as_json_and_text(self):
        words = ["train", "plan", "--params", "405e9", "--tokens", "15e12", "--gpus", 16000, "--tflops", 400]
        plan = json.loads(self.geist(*words, "--json").stdout)
        self.assertAlmostEqual(plan["model_flops"], 6 * 405e9 * 15e12)
        self.assertAlmostEqual(plan["days"], 6 * 405e9 * 15e12 / (16000 * 400e12) / 86400)
        self.assertEqual(plan["layout"]["tensor"] * plan["layout"]["pipeline"] * plan["layout"]["data"], 16000)
        self.assertIn(b"65.9 days", self.geist(*words).stdout)

    def test_recipe(self):
        (self.folder / "text.txt").write_text(english(100))
        self.geist("train", "tokenizer", "--data", self.folder / "text.txt", "--vocab", 300, "--out",
                   self.folder / "tok.gguf")
        recipe = self.file("r.toml", RECIPE.format(out="run", steps=40))
        plan = json.loads(self.geist("train", "plan", recipe, "--tflops", 0.1, "--json").stdout)
        self.assertEqual(plan["tokens"], 40 * 4 * 32)
        self.geist("train", "base", recipe)
        info = json.loads(self.geist("info", self.folder / "run/model.gguf", "--json").stdout)
        self.assertEqual(plan["parameters"], info["parameters"])
        self.assertEqual(plan["layers"], info["block_count"])

    def test_faults(self):
        for words, code in ([], 1), (["--params", "-1"], 2), (["--params", "405e9", "--gpus", 8], 1):
            run = self.geist("train", "plan", *words, code=code)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)


class Plot(Case):
    def run_log(self, name, lines):
        (self.folder / name).mkdir()
        (self.folder / name / "log.jsonl").write_text(lines)
        return self.folder / name

    def test_runs_over_each_other_and_a_torn_line(self):
        lines = ""
        for step in range(1, 1000):
            lines += json.dumps({"step": step, "loss": 5 / step, "gradient_norm": 1.0, "learning_rate": 1e-3}) + "\n"
            if step % 100 == 0:
                lines += json.dumps({"step": step, "validation_loss": 6 / step}) + "\n"
        a = self.run_log("one", lines + '{"step": 1000, "lo')
        b = self.run_log("two<&", '{"step": 1, "loss": 4, "reward": 0.5, "kl": 0.01}\n{"step": 2, "loss": 3}\n')
        run = self.geist("train", "plot", a, b)
        self.assertIn(b"1 line(s) that are not whole", run.stderr)
        svg = xml.etree.ElementTree.parse(a / "plot.svg").getroot()
        texts = [t.text for t in svg.iter("{http://www.w3.org/2000/svg}text")]
        for wanted in "reward", "kl", "gradient_norm", "learning_rate", "one", "one validation", "two<&":
            self.assertIn(wanted, texts)
        self.assertIn("loss (decades)", texts)
        self.assertEqual(len(list(svg.iter("{http://www.w3.org/2000/svg}polygon"))), 3)  # 999 steps: ranges
        self.assertEqual((a / "plot.svg").read_bytes(), self.geist("train", "plot", a, b, "-o", "-").stdout)

    def test_faults_are_one_line(self):
        for path in self.folder / "absent", self.run_log("empty", ""), self.run_log("torn", '{"step"'):
            run = self.geist("train", "plot", path, code=1)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)
            self.assertFalse((path / "plot.svg").exists())


class Eval(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for words in (["generate", cls.folder / "data", "--documents", 300, "--chats", 1, "--pairs", 1, "--problems", 1,
                       "--held-out", 6],
                      ["tokenizer", "--data", cls.folder / "data/base.txt", "--vocab", 512, "--pre", "qwen2", "--out",
                       cls.folder / "tok.gguf"]):
            subprocess.run([GEIST, "train", *map(str, words)], check=True, capture_output=True, timeout=TIMEOUT_S)
        recipe = RECIPE.format(out="run", steps=30).replace("text.txt", "data/base.txt").replace("context = 32", "context = 512")
        (cls.folder / "base.toml").write_text(recipe.replace("split_bytes = 400", ""))
        subprocess.run([GEIST, "train", "base", cls.folder / "base.toml"], check=True, capture_output=True, timeout=TIMEOUT_S)

    def eval(self, *arguments):
        return json.loads(self.geist("eval", self.folder / "run/model.gguf", "--json", *arguments).stdout)

    def test_figures_do_not_depend_on_batches_and_threads(self):
        words = ["--suite", "world", "--suite", "world-pairs", "--count", 2, "-n", 24]
        one = self.eval(*words, "--batch", 1, "-t", 1)
        self.assertEqual(one, self.eval(*words, "--batch", 7, "-t", 2))
        self.assertEqual(len(one["suites"]["world"]), 9)
        self.assertEqual(one["suites"]["world-pairs"]["pairs"]["problems"], 18)
        self.assertLessEqual(one["suites"]["world"]["tool"]["tokens"], 24)

    def test_files_folders_and_answers(self):
        answers, folder = self.folder / "answers.jsonl", self.folder / "data/eval"
        scores = self.eval("--suite", folder, "--suite", self.folder / "data/pairs.held-out.jsonl", "-n", 8, "--answers", answers)
        self.assertEqual(scores["suites"][str(folder)]["lookup"]["problems"], 6)
        lines = [json.loads(line) for line in answers.read_text().splitlines()]
        self.assertEqual(len(lines), 54)
        self.assertEqual(sum(line["right"] for line in lines if line["skill"] == "form"),
                         round(scores["suites"][str(folder)]["form"]["right"] * 6))
        table = self.geist("eval", self.folder / "run/model.gguf", "--suite", folder / "form.jsonl", "-n", 8).stdout
        self.assertIn(b"form", table)

    def test_text_beside_an_ngram_of_the_same_size(self):
        held_out, train = self.folder / "data/base.held-out.txt", self.folder / "data/base.txt"
        scores = self.eval("--text", held_out, "--ngram", train)
        self.assertEqual(scores["text"]["tokens"], scores["ngram"]["tokens"])
        self.assertEqual(scores["text"]["documents"], 6)
        self.assertLessEqual(scores["ngram"]["numbers"], scores["parameters"])
        self.assertLess(scores["ngram"]["bits_per_byte"], 2)
        self.assertGreater(scores["text"]["bits_per_byte"], scores["ngram"]["bits_per_byte"])  # 30 steps are few

    def test_usage_and_faults(self):
        model = self.folder / "run/model.gguf"
        self.geist("eval", model, code=2)
        bad = self.file("bad.jsonl", '{"messages": []}\n')
        run = self.geist("eval", model, "--suite", bad, code=1)
        self.assertIn(b"bad.jsonl:1", run.stderr)
        self.assertEqual(run.stderr.strip().count(b"\n"), 0)
        self.geist("eval", model, "--suite", self.folder / "absent", code=1)
        check = self.file("check.jsonl", json.dumps({"messages": [{"role": "user", "content": "x"}], "check": {"kind": "taste"}}))
        self.assertIn(b"check", self.geist("eval", model, "--suite", check, code=1).stderr)
class Sft(Chats):
    def recipe(self, out, steps=30, data=""):
        return self.file(out + ".toml", SFT_RECIPE.format(out=out, steps=steps, data=data))

    def test_learns_and_resumes_to_the_same_bytes_on_any_thread_count(self):
        run = self.geist("train", "sft", self.recipe("whole"), "-t", 1)
        self.assertIn(b"40 conversations", run.stderr)
        self.assertIn(b"1 sequences left out", run.stderr)
        process = subprocess.Popen([GEIST, "train", "sft", self.recipe("killed"), "-t", "2"],
                                   stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("step 10/"):
                process.kill()
                break
        process.communicate(timeout=TIMEOUT_S)
        again = self.geist("train", "sft", self.recipe("killed"), "-t", 3)
        self.assertIn(b"going on from step", again.stderr)
        self.assertEqual(run.stdout.split()[-1], again.stdout.split()[-1])
        self.assertEqual((self.folder / "killed/model.gguf").read_bytes(),
                         (self.folder / "whole/model.gguf").read_bytes())
        log = self.log("whole")
        self.assertEqual((log[0]["conversations"], log[0]["dropped_too_long"], log[0]["truncated"]), (40, 1, 0))
        self.assertEqual(sum("conversations" in e for e in self.log("killed")), 1)
        self.assertLess(log[-1]["validation_loss"], log[1]["validation_loss"])  # before the first step
        self.geist("run", self.folder / "whole/model.gguf", "-p", "the little", "-n", 8)  # it may end at once

    def test_a_template_of_the_recipe_travels_with_the_model(self):
        self.file("t.jinja", "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}"
                             "{% if add_generation_prompt %}[assistant]{% endif %}")
        self.geist("train", "sft", self.recipe("other", steps=2, data='chat_template = "t.jinja"\ntoo_long = "truncate"'))
        self.assertEqual(self.log("other")[0]["truncated"], 1)
        said = self.geist("render", self.folder / "other/model.gguf",
                          input=b'{"messages": [{"role": "user", "content": "x"}]}').stdout
        self.assertEqual(said, b"[user]x<|im_end|>")

    def test_faults_are_one_line_and_say_where(self):
        self.file("bad.jsonl", '{"messages": [{"role": "user", "content": "x"}]}\n')
        self.file("no.jinja", "{% for m in messages %}{{ m.content }}{% endfor %}"
                              "{% if add_generation_prompt %}<think>{% endif %}")
        for data, message in [('validation_files = ["bad.jsonl"]', b"bad.jsonl:1: there is no assistant message"),
                              ('format = "sharegpt"', b"chats.jsonl:1: 'conversations' is missing"),
                              ('chat_template = "no.jinja"', b"cannot be told"),
                              ('formt = "x"', b"formt")]:
            run = self.geist("train", "sft", self.recipe("fault", data=data), code=1)
            self.assertIn(message, run.stderr)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)
        self.assertFalse((self.folder / "fault").exists())


class Lora(Chats):
    """The same conversations, an adapter beside a quantised base."""

    def recipe(self, out, steps=30, data=""):
        base = self.folder / "base/q8.gguf"
        if not base.exists():
            self.geist("quantize", self.folder / "base/model.gguf", base, "Q8_0")
        text = SFT_RECIPE.format(out=out, steps=steps, data=data).replace("base/model.gguf", "base/q8.gguf")
        return self.file(out + ".toml", text + '[lora]\nrank = 4\ntargets = ["attn_q", "attn_v", "ffn_down"]\n')

    def test_learns_and_resumes_to_the_same_bytes_on_any_thread_count(self):
        run = self.geist("train", "lora", self.recipe("whole"), "-t", 1)
        process = subprocess.Popen([GEIST, "train", "lora", self.recipe("killed"), "-t", "2"],
                                   stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if line.startswith("step 10/"):
                process.kill()
                break
        process.communicate(timeout=TIMEOUT_S)
        self.geist("train", "lora", self.recipe("killed"), "-t", 3)
        adapter = self.folder / "whole/adapter.gguf"
        self.assertEqual((self.folder / "killed/adapter.gguf").read_bytes(), adapter.read_bytes())
        self.assertEqual(run.stdout.split()[0].decode(), str(adapter))
        log = self.log("whole")
        self.assertLess(log[-1]["validation_loss"], log[1]["validation_loss"])  # before the first step
        self.assertIn(b"lora", self.geist("info", adapter).stdout.lower())
        base = self.folder / "base/q8.gguf"
        logits = []
        for more in [], ["--lora", adapter]:
            self.geist("logits", base, "--tokens", "5,6,7", "--out", self.folder / "l.npy", *more)
            logits.append((self.folder / "l.npy").read_bytes())
        self.assertNotEqual(logits[0], logits[1])
        self.geist("run", base, "--lora", adapter, "-p", "the", "-n", 4)

    def test_faults_are_one_line_and_say_where(self):
        recipe = self.recipe("fault")
        recipe.write_text(recipe.read_text().replace("attn_v", "attn_w"))
        run = self.geist("train", "lora", recipe, code=1)
        self.assertIn(b"no layer has a matrix 'attn_w'", run.stderr)
        self.assertEqual(run.stderr.strip().count(b"\n"), 0)


PIPELINE = """
[[stage]]
name = "data"
run = ["train", "generate", "data", "--documents", "40", "--chats", "10", "--pairs", "5", "--problems", "5", "--held-out", "2"]
result = "data"
[[stage]]
name = "tokenizer"
run = ["train", "tokenizer", "--data", "data/base.txt", "--vocab", "300", "--out", "tok.gguf", "-t", "{threads}"]
result = "tok.gguf"
[[stage]]
name = "info"
run = ["info", "tok.gguf", "--json"]
output = "info.json"
result = "info.json"
[[require]]
file = "info.json"
value = "/parameters"
max = 0
"""


class Verify(Case):
    def pipeline(self, name, text=PIPELINE):
        (self.folder / name).mkdir()
        self.file(name + "/pipeline.toml", text)
        return self.folder / name

    def verify(self, folder, work, *more, code=0):
        return self.geist("train", "verify", folder, "--work", self.folder / work, *more, code=code)

    def test_records_compares_and_goes_on(self):
        folder = self.pipeline("p")
        self.assertIn(b"no hash is recorded", self.verify(folder, "w0", code=1).stderr)
        self.assertFalse((folder / "hashes.json").exists())
        self.verify(folder, "w1", "--record", "-t", 1)
        hashes = json.loads((folder / "hashes.json").read_text())
        self.assertEqual(set(hashes), {"data", "tokenizer", "info"})
        said = self.verify(folder, "w2", "-t", 2).stdout.decode()
        self.assertEqual(said.count("as recorded"), 3)
        self.assertIn("met", said)
        self.assertEqual(self.verify(folder, "w2").stdout.count(b"was done"), 3)
        with (self.folder / "w2/tok.gguf").open("ab") as damaged:
            damaged.write(b"x")
        said = self.verify(folder, "w2").stdout.decode()  # makes it and what follows again
        self.assertEqual((said.count("was done"), said.count("as recorded")), (1, 3))
        hashes["tokenizer"] = "0" * 64
        (folder / "hashes.json").write_text(json.dumps(hashes))
        run = self.verify(folder, "w2", code=1)
        self.assertIn(b"DIFFERENT", run.stdout)
        self.assertIn(b"stage tokenizer", run.stderr)
        self.assertNotIn(b"info", run.stdout)

    def test_requirements_and_faults(self):
        folder = self.pipeline("q", PIPELINE.replace("max = 0", "min = 1"))
        run = self.verify(folder, "v0", "--record", code=1)
        self.assertIn(b"MISSED", run.stdout)
        # What the recipe makes is recorded all the same, and compared from then on; the miss stays one.
        self.assertEqual(len(json.loads((folder / "hashes.json").read_text())), 3)
        again = self.verify(folder, "v0", code=1).stdout.decode()
        self.assertEqual((again.count("as recorded"), again.count("MISSED")), (3, 1))
        self.file("q/other.toml", "a = 1\n")
        self.verify(folder, "v0", "--record", code=1)
        self.file("q/other.toml", "a = 2\n")
        self.assertIn(b"another other.toml", self.verify(folder, "v0", "--record", code=1).stderr)
        for bad in (PIPELINE.replace('"tok.gguf"\n', '"../tok.gguf"\n'), PIPELINE.replace("output", "outptu"),
                    PIPELINE.replace('"generate"', '"degenerate"'), PIPELINE.replace("/parameters", "/nothing"),
                    PIPELINE.replace('name = "info"', 'name = "data"'), "x = 1"):
            self.file("q/pipeline.toml", bad)
            (self.folder / "q/other.toml").unlink(missing_ok=True)
            shutil.rmtree(self.folder / "v1", ignore_errors=True)
            run = self.verify(folder, "v1", "--record", code=1)
            self.assertTrue(run.stderr.strip().splitlines()[-1].startswith(b"geist: "), run.stderr)
        self.verify(self.folder / "absent", "v2", code=1)

    def test_interrupt_and_go_on(self):
        folder = self.pipeline("r", PIPELINE.replace('"40"', '"400000"'))
        process = subprocess.Popen([GEIST, "train", "verify", folder, "--work", self.folder / "u", "--record"],
                                   stderr=subprocess.PIPE, text=True)
        process.stderr.readline()  # the first stage has begun
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(TIMEOUT_S), 130)
        process.stderr.close()
        self.assertEqual(json.loads((self.folder / "u/done.json").read_text()), {})


class RecipeTiny(Case):
    def test_gives_the_recorded_hashes(self):
        recipe = pathlib.Path(__file__).parent.parent / "recipes/tiny"
        stages = json.loads((recipe / "hashes.json").read_text())
        said = self.geist("train", "verify", recipe, "--work", self.folder / "work", "-t", 2).stdout.decode()
        self.assertEqual(said.count("as recorded"), len(stages), said)
REAL_RECIPE = """
out = "real"
[model]
from = "{shared}/models/minimind2-small"
[data]
files = ["{shared}/sft/identity.json"]
validation_share = 0.2
validation_sequences = 8
[lora]
rank = 4
targets = ["attn_q", "attn_v", "ffn_down"]
[train]
steps = 5
batch_rows = 3
rows_at_once = 3
context = 64
[optimizer]
learning_rate = 2e-3
warmup_steps = 1
"""


class RealLora(Case):
    def test_a_real_chat_model_learns_what_it_has_not_seen(self):
        shared = os.environ.get("GEIST_SHARED")
        if not shared or not os.path.isdir(shared + "/data/models/minimind2-small"):
            self.skipTest("no shared data")
        self.geist("train", "lora", self.file("real.toml", REAL_RECIPE.format(shared=shared + "/data")), "-t", 2)
        log = [json.loads(line) for line in (self.folder / "real/log.jsonl").read_text().splitlines()]
        before, after = (e["validation_loss"] for e in log if "validation_loss" in e)
        self.assertLess(after, 0.9 * before)


class Reinforce(Chats):
    """geist train reward and rl, and geist reward."""

    def recipe(self, out, algorithm=None, tables=PAIRS, steps=12):
        named = f'algorithm = "{algorithm}"' if algorithm else ""
        return self.file(out + ".toml", RL_RECIPE.format(out=out, algorithm=named, tables=tables, steps=steps))

    def weights(self, run):
        return run.stdout.split()[-1]

    def test_preferences_are_learned_and_resumed_to_the_same_bytes(self):
        whole = self.geist("train", "rl", self.recipe("whole", "dpo"), "-t", 1)
        process = subprocess.Popen([GEIST, "train", "rl", self.recipe("killed", "dpo"), "-t", "2", "--report-every", "1"],
                                   stderr=subprocess.PIPE, text=True)
        for line in process.stderr:  # behind the checkpoint of step 3
            if line.startswith("step 5/"):
                process.kill()
                break
        process.communicate(timeout=TIMEOUT_S)
        rest = self.geist("train", "rl", self.recipe("killed", "dpo"), "-t", 3)
        self.assertIn(b"going on from step", rest.stderr)
        self.assertEqual(self.weights(rest), self.weights(whole))
        log = self.log("whole")
        self.assertEqual(log[0]["validation_margin"], 0)
        self.assertGreater(log[-1]["validation_margin"], 0.1)
        self.assertEqual(log[-1]["validation_accuracy"], 1)

    def test_a_reward_model_is_learned_served_and_obeyed(self):
        run = self.geist("train", "reward", self.recipe("reward", steps=40))
        self.assertIn(b"by length alone", run.stderr)
        self.assertEqual(self.log("reward")[-1]["validation_accuracy"], 1)
        self.assertIn("<svg", (self.folder / "reward/calibration.svg").read_text())
        model = self.folder / "reward/model.gguf"
        chats = "".join(json.dumps({"messages": [{"role": "user", "content": "the fox"},
                                                 {"role": "assistant", "content": said}]}) + "\n"
                        for said in ("a green hill", "an old tree"))
        better, worse = (float(x) for x in self.geist("reward", model, input=chats.encode()).stdout.split())
        self.assertGreater(better, worse)
        lines = self.geist("reward", model, "--json", input=chats.encode()).stdout.splitlines()
        self.assertAlmostEqual(json.loads(lines[1])["reward"], worse, places=5)
        ppo = TASKS + '[reward]\nmodel = "reward/model.gguf"\n[gold]\n'
        self.geist("train", "rl", self.recipe("ppo", "ppo", ppo, steps=2))
        log = self.log("ppo")
        for key in "reward", "kl", "entropy", "clip_fraction", "value_loss", "length", "ended":
            self.assertIn(key, log[1])
        self.assertEqual(log[1]["kl"], 0)
        self.assertIn("validation_gold", log[-1])
        self.assertNotIn(b"value.output", (self.folder / "ppo/model.gguf").read_bytes()[:100000])
        run = self.geist("reward", self.folder / "ppo/model.gguf", input=chats.encode(), code=1)
        self.assertIn(b"not a reward model", run.stderr)

    def test_groups_and_skills(self):
        self.geist("train", "rl", self.recipe("rloo", "rloo", TASKS, steps=2))
        self.assertIn("groups_without_variance", self.log("rloo")[1])
        skills = '[tasks]\nskills = ["arithmetic", "form"]\n[rollout]\ngroup = 2\ntokens_max = 4\n[policy]\nvalidation_tasks = 2\n'
        one = self.geist("train", "rl", self.recipe("grpo", "grpo", skills, steps=2), "-t", 1)
        two = self.geist("train", "rl", self.recipe("grpo2", "grpo", skills, steps=2), "-t", 3)
        self.assertEqual(self.weights(one), self.weights(two))

    def test_faults_are_one_line(self):
        self.file("bare.jsonl", '{"prompt": "x"}\n')
        bare = TASKS.replace("tasks.jsonl", "bare.jsonl")
        for algorithm, tables, message in [("sarsa", PAIRS, b"algorithm"), ("dpo", TASKS, b"files"),
                                           ("grpo", TASKS + "beta = 1\n", b"beta"),
                                           ("grpo", bare, b"bare.jsonl:1: this task has neither"),
                                           ("grpo", '[tasks]\nskills = ["juggling"]\n', b"juggling")]:
            run = self.geist("train", "rl", self.recipe("fault", algorithm, tables), code=1)
            self.assertIn(message, run.stderr)
            self.assertEqual(run.stderr.strip().count(b"\n"), 0)
        self.assertFalse((self.folder / "fault").exists())


class Generate(Case):
    FEW = ["--documents", 50, "--chats", 60, "--pairs", 20, "--problems", 20, "--held-out", 10]

    def files(self, folder):
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def test_a_seed_gives_the_same_files(self):
        folders = [self.folder / name for name in "abc"]
        for folder, seed in zip(folders, (5, 5, 6)):
            self.geist("train", "generate", folder, "--seed", seed, *self.FEW)
        first, same, other = map(self.files, folders)
        self.assertEqual(first, same)
        self.assertNotEqual(first["sft.jsonl"], other["sft.jsonl"])
        self.assertEqual(len(first), 26)
        self.assertEqual(first["base.txt"].count(b"<|endoftext|>\n"), 50)
        for name, contents in first.items():
            if name.endswith(".jsonl"):
                for line in contents.splitlines():
                    json.loads(line)

    def test_chats_go_through_the_chat_template(self):
        folder = self.folder / "chats"
        self.geist("train", "generate", folder, *self.FEW)
        tok = self.folder / "chat.gguf"
        self.geist("train", "tokenizer", "--data", folder / "base.txt", "--vocab", 400, "--out", tok)
        calls = 0
        for line in (folder / "sft.jsonl").read_text().splitlines():
            chat = json.loads(line)
            said = self.geist("render", tok, input=line.encode()).stdout.decode()
            system = "tools" in chat and chat["messages"][0]["role"] != "system"
            self.assertEqual(said.count("<|im_end|>"), len(chat["messages"]) + system)
            if "tool_calls" in chat["messages"][-1]:
                call = said.split("<tool_call>")[-1].split("</tool_call>")[0]
                wanted = chat["messages"][-1]["tool_calls"][0]["function"]
                self.assertEqual(json.loads(call), {"name": wanted["name"],
                                                    "arguments": json.loads(wanted["arguments"])})
                calls += 1
        self.assertGreater(calls, 3)

    def test_faults(self):
        path = self.file("plain", "x")
        run = self.geist("train", "generate", path, *self.FEW, code=1)
        self.assertEqual(run.stderr.strip().count(b"\n"), 0)
        self.assertEqual(path.read_text(), "x")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
