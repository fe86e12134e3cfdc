#!/usr/bin/env python3
"""geist export, as a user meets it: the two files are made, built by the plain C compiler, and print
what geist run prints.

usage: export_test.py GEIST MAKE_TINY_MODEL CC RUN_FILE
"""
import os
import pathlib
import subprocess
import sys
import tempfile


def run(*words, code=0):
    done = subprocess.run([str(w) for w in words], capture_output=True)
    assert done.returncode == code, (words, done.returncode, done.stderr)
    return done


def main():
    geist, make_tiny_model, compiler, run_file = sys.argv[1:5]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, mind = folder / "tiny.gguf", folder / "a" / "mind"
        run(make_tiny_model, model)
        for _ in range(2):  # the second time over what is there
            run(geist, "export", model, mind)
            assert sorted(os.listdir(mind)) == ["README", "geist.c", "model.gguf"], os.listdir(mind)
        assert (mind / "geist.c").read_bytes() == pathlib.Path(run_file).read_bytes()
        assert (mind / "model.gguf").read_bytes() == model.read_bytes()
        assert (mind / "README").read_text().count("\n") == 3
        assert sorted(os.listdir(folder)) == ["a", "tiny.gguf"], "nothing is left over"

        run(compiler, "-O2", mind / "geist.c", "-o", mind / "g")
        for options in (["--temp", "0"], ["--seed", "5"], ["--seed", "6", "--temp", "1.5", "--raw"]):
            words = ["-n", "30", *options]
            expected = run(geist, "run", model, "-p", "abc hello", *words).stdout
            assert expected and run(mind / "g", mind / "model.gguf", "abc hello", *words).stdout == expected, options

        run(geist, "quantize", model, folder / "q.gguf", "Q8_0")
        run(geist, "export", folder / "q.gguf", mind)
        assert (mind / "model.gguf").read_bytes() == (folder / "q.gguf").read_bytes()
        # What the run file does not read is refused in its own words, and nothing is left.
        run(geist, "quantize", model, folder / "k.gguf", "Q4_K_M")
        refused = run(geist, "export", folder / "k.gguf", folder / "none", code=1)
        assert b"only geist run reads the type" in refused.stderr, refused.stderr
        assert not (folder / "none").exists()
        missing = run(geist, "export", folder / "none.gguf", mind, code=1)
        assert missing.stderr.count(b"\n") >= 1
    print("export: equal")


if __name__ == "__main__":
    main()
