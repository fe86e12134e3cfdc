"""What the tests of the geist program from outside share: a folder with a tiny model, and running the program in it.

Each file of tests/cli_*_test.py is run as: FILE GEIST MAKE_TINY_MODEL [unittest arguments, such as Pull or Chat.test_history]
"""
import array
import math
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

GEIST, MAKE_TINY_MODEL = sys.argv[1:3] if len(sys.argv) > 2 else ("geist", "make_tiny_model")
TIMEOUT_S = 120
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


def gguf_bytes(size, seed=1):
    """A GGUF file with one tensor of random bytes, about so large."""
    count = max(size // 32, 1) * 8
    name = b"x"
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 0)
    header += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, count, 0, 0)
    return header + bytes(-len(header) % 32) + random.Random(seed).randbytes(count * 4)


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
