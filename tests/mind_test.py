#!/usr/bin/env python3
"""The mind that comes with Geist: its figures in docs/mini.md are those that it has, and it answers as the page shows.

usage: mind_test.py GEIST ROOT [unittest arguments]
"""
import json
import pathlib
import re
import subprocess
import sys
import unittest

GEIST, ROOT = sys.argv[1], pathlib.Path(sys.argv[2])
MIND, PAGE = ROOT / "minds/mini.gguf", (ROOT / "docs/mini.md").read_text()
TIMEOUT_S = 300


def geist(*arguments, input=""):
    return subprocess.run([GEIST, *map(str, arguments)], input=input, capture_output=True, text=True, check=True,
                          timeout=TIMEOUT_S).stdout


class Mini(unittest.TestCase):
    def test_has_the_figures_of_its_page(self):
        rows = {skill: figures.split(" | ") for skill, figures in
                re.findall(r"^\| ([a-z_]+) \| ((?:[\d./]+ \| )+[\d./]+) \|$", PAGE, re.M)}
        suites = json.loads(geist("eval", MIND, "--suite", "world", "--suite", "world-new-wording", "--json"))["suites"]
        self.assertEqual(set(rows), set(suites["world"]))
        for skill, figures in rows.items():
            measured = [f"{suites[suite][skill]['right']:.3f}" for suite in ("world", "world-new-wording")]
            self.assertEqual(figures[-2:], measured, skill)

    def test_answers_as_its_page_shows(self):
        shown = re.search(r"^\$ \./start\n(.*?)^```$", PAGE, re.M | re.S).group(1)
        turns = re.findall(r"^> (.*(?:\n\. .*)*)\n((?:[^>].*\n)+)", shown, re.M)
        self.assertGreaterEqual(len(turns), 4)
        for question, answer in turns:  # each in a chat of its own; a line that begins with ". " goes on with the question
            asked = question.replace("\n. ", "\\\n")
            self.assertEqual(geist("chat", MIND, "--temp", "0", input=asked + "\n"), answer, question)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
