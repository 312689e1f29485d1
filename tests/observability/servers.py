"""A Well and a Prometheus of one's own, on free ports, with fresh folders that go with them."""

import contextlib
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import faster
import promql

SHIM = promql.ROOT / "tests/system/shim/sync.c"
PATIENCE = 30  # seconds for any one thing


def binary():
    target = os.environ.get("CARGO_TARGET_DIR", promql.ROOT / "target")
    return os.environ.get("WELL_BIN", str(pathlib.Path(target) / "debug/well"))


# A test's certificate is signed by nobody.
UNSIGNED = ssl.create_default_context()
UNSIGNED.check_hostname = False
UNSIGNED.verify_mode = ssl.CERT_NONE


def get(url):
    """Status and text, of errors too."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE, context=UNSIGNED) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def run(*arguments, environment=(), patience=PATIENCE):
    """A command of the binary, to its end."""
    command = [binary(), *map(str, arguments)]
    environment = {**os.environ, **dict(environment)}
    return subprocess.run(command, capture_output=True, text=True, timeout=patience, env=environment)


def until(what, probe, patience=PATIENCE):
    """Looks again and again until `probe` gives something truthy."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {patience} s: {what}")


class Server:
    """A process with a folder; both are gone after `stop`."""

    def __init__(self):
        self.kept = tempfile.TemporaryDirectory(prefix="well-observability-", ignore_cleanup_errors=True)
        self.folder = pathlib.Path(self.kept.name)
        self.process = None
        self.log = self.folder / "log"

    def spawn(self, command, **options):
        # A server that is started again goes on in the same log.
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stderr=log, text=True, **options)

    def said(self):
        return self.log.read_text()[-4000:]

    def kill(self):
        """Ends the process at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE)
            if self.process.stdout:
                self.process.stdout.close()
            self.process = None

    def stop(self):
        self.kill()
        self.kept.cleanup()


class Switches:
    """What becomes of a Well's syncs and of its clock: tests/system/shim says which switches there are."""

    def __init__(self):
        self.kept = tempfile.TemporaryDirectory(prefix="well-switches-")
        self.folder = pathlib.Path(self.kept.name)
        library = self.folder / "sync.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SHIM], check=True, timeout=PATIENCE)
        self.environment = {"LD_PRELOAD": str(library), "SYNC_SWITCHES": str(self.folder)}

    @contextlib.contextmanager
    def on(self, name):
        switch = self.folder / name
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    def stop(self):
        self.kept.cleanup()


class Well(Server):
    """`data` is where its data folder is to be, if not in its own folder."""

    def __init__(self, config="", data=None, environment=()):
        super().__init__()
        self.file = self.folder / "well.toml"
        self.file.write_text(config)
        self.archive = self.folder / "archive"
        self.data = data or self.folder / "data"
        self.environment = {**os.environ, **dict(environment)}
        self.address = "127.0.0.1:0"
        self.start()

    def start(self):
        """Starts it, or starts it again at the same address."""
        arguments = ["--listen", self.address, "--data", self.data, "--config", self.file, "--archive", self.archive.as_uri()]
        command = [binary(), "serve", *map(str, arguments)]
        self.spawn(command, stdout=subprocess.PIPE, env=self.environment)
        # The line comes once connections are taken; the end of a server that dies ends it, too.
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on (https?)://(127\.0\.0\.1:\d+)\n", line)
        if match is None:
            said = self.said()
            self.stop()
            raise AssertionError(f"the Well does not listen: {line!r}\n{said}")
        self.scheme, self.address = match.groups()
        self.url = f"{self.scheme}://{self.address}"

    def tells(self, kind):
        """Waits until the ribbon tells of such an event."""
        url = f"{self.url}/api/v1/observatory/events"
        until(f"the event {kind}", lambda: kind in {event["kind"] for event in json.loads(get(url)[1])["events"]})

    def client(self, *arguments, **options):
        """A command of the same binary that talks to this Well."""
        command = [binary(), *arguments, "--server", f"ws://{self.address}/well"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


class Prometheus(Server):
    """deploy/prometheus as it is, but for whom it asks and how often; and on a faster clock, if `times` says so.

    The shortest window is 5 minutes, and Prometheus asks five times in it, or once a second if that is more often.
    """

    def __init__(self, well, times=1):
        super().__init__()
        interval = f"{min(1_000, 60_000 // times)}ms"
        for path in promql.PROMETHEUS.glob("*.yml"):
            text = path.read_text()
            if path.name == "prometheus.yml":
                text, targets = re.subn(r'\["well:4000"\]', f'["{well.address}"]', text)
                text, intervals = re.subn(r"(\w+_interval): 15s", rf"\1: {interval}", text)
                secure = f"scheme: {well.scheme}\n    tls_config: {{insecure_skip_verify: true}}"
                text, schemes = re.subn("# scheme: https", secure, text)
                assert (targets, intervals, schemes) == (1, 2, 1), "prometheus.yml is not what this test knows"
            else:
                text = faster.rules(text, times)
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

    def firing(self):
        """The names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.api("alerts")["alerts"] if alert["state"] == "firing"}
