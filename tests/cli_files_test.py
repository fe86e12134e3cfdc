#!/usr/bin/env python3
"""geist from outside: what is read is never overwritten."""
import json
import os
import pathlib
import shutil
import struct
import subprocess

import cli_support
from cli_support import Case, MAKE_TINY_MODEL


def write_hf_folder(folder, vocabulary=300, width=32):
    """A Llama of one layer in Hugging Face's layout, all weights alike."""
    folder.mkdir()
    letters = {**{chr(0x100 + i): i for i in range(vocabulary - 1)}, "</s>": vocabulary - 1}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [{"id": vocabulary - 1, "content": "</s>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": letters, "merges": []}}))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "hidden_size": width, "intermediate_size": width, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary, "tie_word_embeddings": True, "rope_theta": 10000.0}))
    square, layer = [width, width], "model.layers.0."
    shapes = {"model.embed_tokens.weight": [vocabulary, width], "model.norm.weight": [width],
              layer + "input_layernorm.weight": [width], layer + "post_attention_layernorm.weight": [width],
              **{f"{layer}self_attn.{x}_proj.weight": square for x in "qkvo"},
              **{f"{layer}mlp.{x}_proj.weight": square for x in ("gate", "up", "down")}}
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<f", 0.01) * (end // 4))


def write_llama2c(path, tokenizer, width=8, vocabulary=300):
    square = width * width
    numbers = 2 * vocabulary * width + 7 * square + 3 * width + 16 * width
    path.write_bytes(struct.pack("<7i", width, width, 1, 1, 1, -vocabulary, 16) + struct.pack("<f", 0.01) * numbers)
    tokenizer.write_bytes(struct.pack("<i", 9) + b"".join(struct.pack("<fi", 0, 4) + b"%04d" % i for i in range(vocabulary)))


class Overwriting(Case):
    """What a result is made from stays, whatever name it is given by."""

    def setUp(self):
        self.hf = self.folder / self.id().rsplit(".", 1)[1]
        write_hf_folder(self.hf)

    def contents(self):
        return {p: p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}

    def refused(self, *words):
        before = self.contents()
        self.assertIn("write to another file", self.fails(1, *words).splitlines()[-1])
        self.assertEqual(self.contents(), before)

    def test_a_folders_template_is_rendered(self):
        (self.hf / "tokenizer_config.json").write_text(json.dumps(
            {"chat_template": "{{ messages[0].content }}{{ 1e400 }}{{ eos_token }}", "eos_token": "</s>"}))
        context = json.dumps({"messages": [{"role": "user", "content": "hi "}]}).encode()
        self.assertEqual(self.ok("render", self.hf, input=context), b"hi inf</s>")

    def test_a_folder_is_not_converted_into_itself(self):
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            self.refused("convert", self.hf, self.hf / name)
            self.refused("quantize", self.hf, self.hf / name, "Q8_0")
        (self.folder / "link").symlink_to(self.hf)
        self.refused("convert", self.hf, self.folder / "link" / "config.json")
        (self.folder / "weights").symlink_to(self.hf / "model.safetensors")
        self.refused("convert", self.hf, self.folder / "weights")
        os.link(self.hf / "config.json", self.folder / "hard")
        self.refused("convert", self.hf, self.folder / "hard")
        for _ in range(2):  # a result in the same folder may be made again
            self.geist("convert", self.hf, self.hf / "model.gguf")
        self.ok("quantize", self.hf, self.hf / "q8.gguf", "Q8_0")
        self.refused("quantize", self.hf / "model.gguf", self.hf / "model.gguf", "Q8_0")

    def test_tensors_alone_are_no_model(self):
        self.assertIn("give the folder", self.fails(1, "info", self.hf / "model.safetensors"))

    def test_info_says_what_a_folder_is(self):
        text = self.ok("info", self.hf).decode()
        self.assertIn("safetensors", text)
        self.assertNotIn("GGUF", text)
        self.assertIsNone(json.loads(self.ok("info", self.hf, "--json"))["gguf_version"])

    def test_a_checkpoint_of_llama2c(self):
        checkpoint, tokenizer = self.hf / "x.bin", self.hf / "tok.bin"
        write_llama2c(checkpoint, tokenizer)
        words = ["convert", checkpoint]
        self.refused(*words, checkpoint, "--tokenizer", tokenizer)
        self.refused(*words, tokenizer, "--tokenizer", tokenizer)
        shutil.copy(tokenizer, self.hf / "tokenizer.bin")
        self.refused(*words, self.hf / "tokenizer.bin")  # found beside it
        self.geist(*words, self.hf / "out.gguf")
        self.ok("info", self.hf / "out.gguf")

    def test_results_of_a_model(self):
        adapter = self.folder / "adapter.gguf"
        subprocess.run([MAKE_TINY_MODEL, "--adapter", adapter], check=True)
        self.refused("logits", self.model, "--tokens", "1,2", "--out", self.model)
        self.refused("logits", self.model, "--tokens", "1,2", "--lora", adapter, "--out", adapter)
        self.refused("embed", self.model, "--tokens", "1,2", "--out", self.model)
        self.refused("embed", self.hf, "--tokens", "1,2", "--out", self.hf / "config.json")
        suite = self.hf / "suite.jsonl"
        suite.write_text('{"messages": []}\n')
        self.refused("eval", self.model, "--suite", suite, "--answers", suite)
        self.refused("eval", self.model, "--suite", suite, "--answers", self.model)
        self.refused("bench", self.model, "-p", "1", "-n", "1", "-r", "1", "--svg", self.model)
        before = self.contents()
        done = self.geist("chat", self.model, "--no-prompt-cache", input=f"/save {self.model}\n")
        self.assertIn(b"write to another file", done.stderr)
        self.assertEqual(self.contents(), before)

    def test_training(self):
        text = self.hf / "text.txt"
        text.write_text("some words to learn from\n" * 50)
        words = ["train", "tokenizer", "--data", text, "--vocab", "300"]
        self.refused(*words, "--out", text)
        self.refused(*words, "--out", self.hf / "t.gguf", "--json", text)
        self.ok(*words, "--out", self.hf / "t.gguf")
        manifest = self.hf / "manifest.json"
        manifest.write_text("words\n" * 50)
        self.refused("train", "data", "--data", manifest, "--tokenizer", self.hf / "t.gguf", "--out", self.hf)
        shutil.copy(self.hf / "t.gguf", self.hf / "model.gguf")
        recipe = self.hf / "base.toml"
        recipe.write_text('out = "."\n[model]\ntokenizer = "model.gguf"\nlayers = 1\nwidth = 32\nheads = 2\n'
                          'context = 32\n[data]\nfiles = ["text.txt"]\n[train]\nsteps = 1\n')
        self.refused("train", "base", recipe)


class Export(Case):
    """An export replaces what an export wrote, and nothing else."""

    def test_foreign_files_are_named(self):
        mind = self.folder / "mind"
        for name in ("README", "geist.c", "model.gguf"):
            shutil.rmtree(mind, ignore_errors=True)
            mind.mkdir()
            (mind / name).write_text("mine")
            said = self.fails(1, "export", self.model, mind)
            self.assertIn(name, said)
            self.assertIn("--force", said)
            self.assertEqual([(p.name, p.read_text()) for p in mind.iterdir()], [(name, "mine")])
            self.ok("export", self.model, mind, "--force")
            self.ok("export", self.model, mind)
        (mind / "geist.c").write_text("mine")
        self.assertIn("geist.c there", self.fails(1, "export", self.model, mind))

    def test_a_model_that_lies_there(self):
        mind = self.folder / "in-place"
        mind.mkdir()
        shutil.copy(self.model, mind / "model.gguf")
        self.ok("export", mind / "model.gguf", mind)
        self.assertEqual((mind / "model.gguf").read_bytes(), pathlib.Path(self.model).read_bytes())
        os.link(mind / "model.gguf", self.folder / "other.gguf")
        self.ok("export", self.folder / "other.gguf", mind)
        self.ok("run", mind / "model.gguf", "-p", "a", "-n", "2")


if __name__ == "__main__":
    cli_support.main()
