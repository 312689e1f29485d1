"""A Well and a Prometheus of one's own, on free ports, with fresh folders that go with them."""

import json
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import promql

PATIENCE = 30  # seconds for any one thing


def binary():
    target = os.environ.get("CARGO_TARGET_DIR", promql.ROOT / "target")
    return os.environ.get("WELL_BIN", str(pathlib.Path(target) / "debug/well"))


def get(url):
    """Status and text, of errors too."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def until(what, probe):
    """Looks again and again until `probe` gives something truthy."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE} s: {what}")


class Server:
    """A process with a folder; both are gone after `stop`."""

    def __init__(self):
        self.kept = tempfile.TemporaryDirectory(prefix="well-observability-", ignore_cleanup_errors=True)
        self.folder = pathlib.Path(self.kept.name)
        self.process = None
        self.log = self.folder / "log"

    def spawn(self, command, **options):
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, text=True, **options)

    def said(self):
        return self.log.read_text()[-4000:]

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            if self.process.stdout:
                self.process.stdout.close()
        self.kept.cleanup()


class Well(Server):
    def __init__(self, config=""):
        super().__init__()
        file = self.folder / "well.toml"
        file.write_text(config)
        archive = (self.folder / "archive").as_uri()
        data = self.folder / "data"
        arguments = ["--listen", "127.0.0.1:0", "--data", data, "--config", file, "--archive", archive]
        self.spawn([binary(), "serve", *map(str, arguments)], stdout=subprocess.PIPE)
        # The line comes once connections are taken; the end of a server that dies ends it, too.
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on http://(127\.0\.0\.1:\d+)\n", line)
        if match is None:
            said = self.said()
            self.stop()
            raise AssertionError(f"the Well does not listen: {line!r}\n{said}")
        self.address = match.group(1)
        self.url = f"http://{self.address}"

    def client(self, *arguments, **options):
        """A command of the same binary that talks to this Well."""
        command = [binary(), *arguments, "--server", f"ws://{self.address}/well"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


class Prometheus(Server):
    """deploy/prometheus as it is, but for whom it asks and how often."""

    def __init__(self, target):
        super().__init__()
        for path in promql.PROMETHEUS.glob("*.yml"):
            text = path.read_text()
            if path.name == "prometheus.yml":
                text, targets = re.subn(r'\["well:4000"\]', f'["{target}"]', text)
                text, intervals = re.subn(r"(\w+_interval): 15s", r"\1: 1s", text)
                assert (targets, intervals) == (1, 2), "prometheus.yml is not what this test knows"
            (self.folder / path.name).write_text(text)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.spawn([
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ])
        try:
            until("Prometheus is ready", self.ready)
        except AssertionError:
            self.stop()
            raise

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"Prometheus ended:\n{self.said()}")
        try:
            return get(f"{self.url}/-/ready")[0] == 200
        except OSError:
            return False

    def api(self, path, **query):
        status, text = get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(text)
        if status != 200 or answer["status"] != "success":
            raise AssertionError(f"{path} {query}: {status} {text}")
        return answer["data"]

    def values(self, expression):
        """What an instant query gives, without what is not a number."""
        result = self.api("query", query=expression)["result"]
        return [float(value) for value in (series["value"][1] for series in result) if value != "NaN"]
