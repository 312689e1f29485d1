"""A real Prometheus asks a running Well that has a little to do, and every panel has something to show."""

import subprocess
import threading
import time
import unittest

import promql
import servers

CONFIG = """
[spaces.text]
kind = "text"
snapshot_records = 20        # so that snapshots are made within seconds

[spaces.small]
kind = "opaque"
max_update = "64"            # so that something is refused
"""
LOOKS_SECONDS = 35


class Load:
    """Somebody writes, somebody reads along, others come and go, look back, and are refused."""

    def __init__(self, well):
        self.well = well
        self.ended = threading.Event()
        self.reader = well.client("tail", "text/notes", "--since", "0")
        parts = (self.write, self.come_and_go, self.look_back)
        self.threads = [threading.Thread(target=part) for part in parts]
        for thread in self.threads:
            thread.start()

    def write(self):
        writer = self.well.client("send", "text/notes", "--text", stdin=subprocess.PIPE, text=True)
        while not self.ended.wait(0.02):
            writer.stdin.write("a line of text\n")
            writer.stdin.flush()
        writer.stdin.close()
        writer.wait(servers.PATIENCE)

    def come_and_go(self):
        visits = 0
        while not self.ended.wait(0.3):
            visits += 1
            self.send(f"text/visit-{visits}", "hello", "--text")
            self.send("small/box", "x" * 100)

    def send(self, room, line, *options):
        sender = self.well.client("send", room, "--patience", "5s", *options, stdin=subprocess.PIPE, text=True)
        sender.communicate(line + "\n", timeout=servers.PATIENCE)

    def look_back(self):
        while not self.ended.wait(0.2):
            servers.get(f"{self.well.url}/api/v1/rooms/text/notes/state?seq=1")
            servers.get(f"{self.well.url}/api/v1/rooms/text/notes/timeline")

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(servers.PATIENCE)
        self.reader.kill()
        self.reader.wait(servers.PATIENCE)


class Live(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.well = servers.Well(CONFIG)
        cls.addClassCleanup(cls.well.stop)
        cls.prometheus = servers.Prometheus(cls.well)
        cls.addClassCleanup(cls.prometheus.stop)
        cls.load = Load(cls.well)
        cls.addClassCleanup(cls.load.end)

    def test_prometheus_reaches_the_well_and_can_judge_every_rule(self):
        servers.until("the Well is asked", lambda: self.prometheus.values('up{job="well"}') == [1.0])
        expected = len(promql.rules())

        def judged():
            groups = self.prometheus.api("rules")["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            return len(rules) == expected and all(rule["health"] != "unknown" for rule in rules) and rules

        bad = [(rule["name"], rule.get("lastError")) for rule in servers.until("rules are judged", judged) if rule["health"] != "ok"]
        self.assertEqual(bad, [])

    def test_every_query_of_every_panel_gives_data(self):
        # Annotations are moments: most of the time there is none.
        missing = {asked for asked in promql.panels() if not asked[1].startswith("annotation")}
        self.assertGreater(len(missing), 50, "the dashboards were read")
        deadline = time.monotonic() + LOOKS_SECONDS
        while missing and time.monotonic() < deadline:
            missing = {asked for asked in missing if not self.prometheus.values(concrete(asked[2]))}
            time.sleep(1)
        told = "\n".join(f"{board}: {panel}: {query}" for board, panel, query in sorted(missing))
        if missing:
            self.fail(f"{len(missing)} queries give no data:\n{told}")

    def test_promtool_finds_the_metrics_in_order(self):
        status, text = servers.get(f"{self.well.url}/metrics")
        self.assertEqual(status, 200, text)
        self.assertIn("well_updates_received_total", text)
        run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30)
        self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))


def concrete(query):
    """A query as Grafana would send it for this Well and this interval of asking."""
    return query.replace("$__rate_interval", "15s").replace("$instance", ".+")


if __name__ == "__main__":
    unittest.main()
