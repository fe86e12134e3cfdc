#!/usr/bin/env python3
"""geist chat from outside: scripted, and in a terminal."""
import json
import os
import pty
import select
import signal
import termios
import time

import cli_support
from cli_support import Case, GEIST, NEVER_ENDS, TIMEOUT_S


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
        for words in ("/nonsense", "/set nonsense 1", "/set top-p 7", "/set top-k 40.7", "/set top-k 1e3",
                      "/load /nonexistent", "/save", "/regen"):
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


class Feedback(Case):
    """/good and /bad of geist chat, and the pairs that geist feedback makes of them."""

    def setUp(self):
        self.kept = self.folder / "feedback.jsonl"
        self.kept.unlink(missing_ok=True)

    def judge(self, text, *arguments, code=0):
        done = self.geist("chat", self.model, "--seed", "1", "-n", "8", *NEVER_ENDS, *arguments, input=text)
        self.assertEqual(done.returncode, code, done.stderr.decode())

    def export(self, *arguments):
        return [json.loads(line) for line in self.ok("feedback", "export", *arguments).splitlines()]

    def test_a_good_reply_and_a_bad_one_are_a_pair(self):
        self.judge("hi\n/bad\n/regen\n/good\n", "--system", "be brief")
        lines = [json.loads(line) for line in self.kept.read_text().splitlines()]
        self.assertEqual([line["verdict"] for line in lines], ["bad", "good"])
        self.assertEqual(self.kept.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.export(), [{"prompt": [{"role": "system", "content": "be brief"},
                                                     {"role": "user", "content": "hi"}],
                                          "chosen": lines[1]["reply"], "rejected": lines[0]["reply"]}])
        self.assertNotEqual(lines[0]["reply"], lines[1]["reply"])

    def test_the_last_verdict_on_a_reply_counts_and_a_lone_one_has_a_label(self):
        self.judge("hi\n/good\n/bad\n")
        pairs = self.export()
        self.assertEqual([(p["label"], "completion" in p) for p in pairs], [(False, True)])
        out = self.folder / "pairs.jsonl"
        self.assertEqual(self.export("--out", out, "--json")[0] | {"out": ""},
                         {"out": "", "pairs": 0, "good_alone": 0, "bad_alone": 1, "not_whole": 0})
        self.assertEqual([json.loads(line) for line in out.read_text().splitlines()], pairs)

    def test_lines_that_are_not_whole_are_counted_and_left_out(self):
        self.judge("hi\n/good\n")
        whole = self.kept.read_text()
        nested = "[" * 100_000
        self.kept.write_text(f"{nested}\n{{}}\n" + whole.replace('"good"', '"fine"') + whole + whole[:-20])
        self.judge("hi\n/good\n")  # behind the line that was cut off, on one of its own
        done = self.geist("feedback", "export")
        self.assertIn(b"4 lines are not whole", done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 1)

    def test_faults(self):
        self.judge("/good\n", code=1)  # there is no reply yet
        self.assertFalse(self.kept.exists())
        done = self.geist("feedback", "export")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"/good and /bad", done.stderr)
        self.judge("hi\n/good\n")
        kept = self.kept.read_bytes()
        self.assertEqual(self.geist("feedback", "export", "--out", self.kept).returncode, 1)
        self.assertEqual(self.kept.read_bytes(), kept)
        self.assertEqual(self.geist("feedback", "import").returncode, 2)


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

    def test_control_c_before_the_answer_leaves_no_empty_one(self):
        path, long = self.folder / "none.json", self.folder / "long.json"
        long.write_text(json.dumps({"messages": [{"role": "user", "content": "many words " * 20000}]}))
        self.start("-c", "1000000", "--no-prompt-cache")
        self.send(f"/load {long}\r".encode())
        self.expect_prompt()
        self.send(b"/regen\r")
        self.expect(b"/regen\r\n")
        while not termios.tcgetattr(self.terminal)[3] & termios.ICANON:
            time.sleep(0.01)
        self.send(b"\x03")
        self.expect_prompt()
        self.assertIn(b"before the answer", self.seen)
        self.send(f"/save {path}\r".encode())
        self.expect_prompt()
        self.send(b"/exit\r")
        self.assertEqual(self.exit_code(), 0)
        self.assertEqual(json.loads(path.read_text())["messages"], [])

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


if __name__ == "__main__":
    cli_support.main()
