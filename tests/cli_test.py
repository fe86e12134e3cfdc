#!/usr/bin/env python3
"""The geist program from outside: words, help, exit codes, what it says of a model, completion."""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
import unittest

import cli_support
from cli_support import Case, GEIST, NEVER_ENDS, TIMEOUT_S

COMMANDS = ["run", "chat", "info", "pages", "tokenize", "detokenize", "render", "logits", "embed", "perplexity", "eval",
            "bench", "pull", "quantize", "convert", "export", "train", "completion"]
BERT = next(pathlib.Path(__file__).parent.glob("golden/models/bert*.gguf"), pathlib.Path("none"))


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

    def test_help_is_text(self):
        trained = re.findall(r"^  (\w+) ", self.ok("train", "--help").decode().split("Subcommands:")[1], re.MULTILINE)
        self.assertIn("base", trained)
        for words in ([], *([name] for name in COMMANDS), *(["train", name] for name in trained)):
            explained = self.ok(*words, "--help").decode()
            self.assertEqual([c for c in explained if ord(c) < 32 and c != "\n"], [], words)
        self.assertRegex(self.ok("run", "--help").decode(), r"--kv-type TEXT:\{f32,f16,bf16,q8_0\}")

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
                      ["embed", self.model, "--tokens", "1"], ["embed", self.model, "--tokens", ""],
                      ["embed", self.model, "--json", "--out", self.folder / "x.npy"], ["perplexity", self.model],
                      ["bench", self.model, "-t", "1,x"], ["pull"], ["pull", "nonsense"], ["pull", "hf:a/b"],
                      ["pull", "http://x/y", "--sha256", "12"], ["completion", "tcsh"], ["info", "a", "b"]):
            with self.subTest(words=words):
                self.fails(2, *words)

    def test_a_word_that_is_no_command_is_told(self):
        self.assertIn("'nonsense'", self.fails(2, "nonsense", self.model, "a"))

    def test_a_seed_is_taken_exactly_or_not_at_all(self):
        for seed in ("-1", "18446744073709551616", "1e3", "x"):
            self.assertIn("seed", self.fails(2, "run", self.model, "-p", "a", "--seed=" + seed))

    def test_of_an_option_given_twice_the_last_counts(self):
        words = ["run", self.model, "-p", "once", "--temp", "0", *NEVER_ENDS]
        self.assertEqual(self.ok(*words, "-n", "3", "-n", "9"), self.ok(*words, "-n", "9"))
        self.assertNotEqual(self.ok(*words, "-n", "9", "-r", "1", "-r", "zz"), self.ok(*words, "-n", "9"),
                            "what may be repeated adds up")

    def test_an_instruction_set_is_named(self):
        said = self.fails(1, "run", self.model, "-p", "a", env=self.environment(GEIST_ISA="AVX9"))
        self.assertIn("'AVX9'", said)
        self.assertEqual(*(self.ok("run", self.model, "-p", "a", "-n", "4", "--temp", "0", env=self.environment(GEIST_ISA=isa))
                           for isa in ("Portable", "portable")))

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
        # Threads are the first thing that loading needs: what is off in the words or the header is said before.
        nameless = self.folder / "no-tokenizer.gguf"
        nameless.write_bytes(pathlib.Path(self.model).read_bytes().replace(b"tokenizer.ggml.model", b"tokenizer.ggml.nodel"))
        for said, words in (("tokenizer.ggml.model", ["run", nameless, "-p", "a"]),
                            ("--logit-bias", ["run", self.model, "-p", "a", "--logit-bias", "9999+1"]),
                            ("prompt is empty", ["run", self.model, "-p", "", "--raw"]),
                            ("--logit-bias", ["chat", self.model, "--logit-bias", "9999+1"])):
            self.assertIn(said, self.fails(1, *words, "-t", "512", preexec_fn=limit))

    def test_not_enough_memory_is_one_line(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
        if self.geist("--version", preexec_fn=limit).returncode != 0:
            self.skipTest("this build needs more addresses than the limit")
        self.assertIn("not enough memory", self.fails(1, "run", self.model, "-f", "/dev/zero", preexec_fn=limit))

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

    def test_a_part_of_a_split_that_is_missing(self):
        header = b"GGUF" + struct.pack("<IQQ", 3, 0, 2)
        for key, value in ((b"split.no", 0), (b"split.count", 2)):
            header += struct.pack("<Q", len(key)) + key + struct.pack("<IH", 2, value)
        (self.folder / "m-00001-of-00002.gguf").write_bytes(header)
        said = self.fails(1, "info", self.folder / "m-00001-of-00002.gguf")
        self.assertIn("m-00002-of-00002.gguf", said)
        self.assertIn("all 2 parts", said)

    @unittest.skipUnless(BERT.exists(), "no golden models")
    def test_an_embedding_model_keeps_no_keys_and_values(self):
        self.assertIsNone(json.loads(self.ok("info", BERT, "--json"))["kv"])
        self.assertIn(b"KV cache        (none", self.ok("info", BERT))

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

    def test_a_context_nested_without_end_is_refused(self):
        template = self.folder / "no-system.jinja"
        template.write_text("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}")
        messages = json.dumps([{"role": r, "content": r} for r in ("system", "user")])
        context = '{"messages": %s, "x": %s}' % (messages, "[" * 1000000 + "]" * 1000000)
        self.assertIn("nested deeper", self.fails(1, "render", template, "--fold-system", input=context))
        self.assertIn("the context nests deeper", self.fails(1, "render", template, input=context))

    def test_a_template_from_a_pipe(self):
        read, write = os.pipe()
        os.write(write, b"{{ x }}!")
        os.close(write)
        self.assertEqual(self.ok("render", f"/dev/fd/{read}", input='{"x": 1}', pass_fds=[read]), b"1!")
        os.close(read)

    def test_interrupt_ends_a_wait_for_the_prompt(self):
        for words in (["run", self.model], ["perplexity", self.model, "-"]):
            for load_s in (0.0, 0.2):  # while the program starts or loads, and while it reads
                process = subprocess.Popen([GEIST, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           stderr=subprocess.PIPE)
                self.wait_until_it_catches(process.pid)
                time.sleep(load_s)
                process.send_signal(signal.SIGINT)
                self.assertEqual(process.wait(timeout=TIMEOUT_S), 130)  # its input is still open
                self.assertEqual(process.communicate(), (b"", b""))

    @staticmethod
    def wait_until_it_catches(pid):
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            if int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) >> (signal.SIGINT - 1) & 1:
                return
            time.sleep(0.01)

    def test_a_reader_that_leaves_ends_it(self):
        process = subprocess.Popen([GEIST, "run", self.model, "-p", "a", "-c", "1000000", *NEVER_ENDS],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=TIMEOUT_S), 1)
        process.stderr.close()


if __name__ == "__main__":
    cli_support.main()
