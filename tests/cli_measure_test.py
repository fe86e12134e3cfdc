#!/usr/bin/env python3
"""geist from outside: logits, embeddings, perplexity, benchmarks, the cache of prompts."""
import array
import json
import math
import pathlib
import shutil
import subprocess
import tempfile
from xml.etree import ElementTree

import cli_support
from cli_support import Case, GEIST, MAKE_TINY_MODEL, NEVER_ENDS, TIMEOUT_S, read_npy


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
        self.assertEqual(self.ok(*words, "-"), path.read_bytes())
        vector = self.ok("embed", self.model, "--tokens", "1,5", "--out", "-")
        self.ok("embed", self.model, "--tokens", "1,5", "--out", path)
        self.assertEqual(vector, path.read_bytes())
        self.assertFalse(pathlib.Path("-").exists())
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
        text.write_text("a b c d e f g h " * 100)
        long = self.geist("perplexity", self.model, text, "--ctx", "300")
        self.assertEqual(long.returncode, 0)
        self.assertIn(b"trained on 256", long.stderr)

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

    def test_roofline(self):
        words = ["-p", "8", "-n", "2", "-r", "1", "-t", "1"]
        text = self.ok("bench", self.model, *words, "--roofline").decode()
        self.assertRegex(text, r"(?m)^prefill 8 .*(memory|arithmetic)$")
        self.assertRegex(text, r"(?m)^limits of 1 thread: \d")
        # Two files in one picture: a point for each phase and type of weights.
        q8, svg = self.folder / "q8.gguf", self.folder / "roofline.svg"
        self.ok("quantize", self.model, q8, "Q8_0")
        results = json.loads(self.ok("bench", self.model, q8, *words, "--json", "--svg", svg))
        rows = [row for result in results for row in result["roofline"]]
        self.assertEqual([(row["weights"], row["work"]) for row in rows],
                         [("F32", "prefill"), ("F32", "decode"), ("Q8_0", "prefill"), ("Q8_0", "decode")])
        for row in rows:
            self.assertAlmostEqual(row["share"], row["seconds_at_least"] / row["seconds"])
        picture = ElementTree.parse(svg).getroot()
        points = [text.text for text in picture.iter() if text.tag.endswith("text") and text.text.endswith("%")]
        self.assertEqual([point.split(":")[0] for point in points],
                         ["F32 prefill 8", "F32 decode", "Q8_0 prefill 8", "Q8_0 decode"])


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
        listed = json.loads(self.geist("pages", "--json", "--prompt-cache", self.cache).stdout)
        self.assertEqual((listed["pages"], listed["damaged"]), (1, 0))
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


if __name__ == "__main__":
    cli_support.main()
