"""The rules that page people: valid, tested both ways, explained, and about metrics that exist."""

import concurrent.futures
import os
import re
import subprocess
import unittest

import yaml

import promql

TESTS = sorted((promql.PROMETHEUS / "tests").glob("*.yml"))


def promtool(*arguments):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=120)


class Names(unittest.TestCase):
    """The reader of PromQL that the tests below lean on."""

    def test_it_finds_metrics_and_nothing_else(self):
        cases = {
            'sum by (le, room) (rate(a_bucket{x=~"b|c", y="d{e}"}[5m]))': {"a_bucket"},
            "a:b:c > 14.4 * 0.01 and d offset 10m": {"a:b:c", "d"},
            "predict_linear(a[6h], 24 * 3600) < 1e9 unless on (i) b": {"a", "b"},
            "time() - a # b\n or vector(0)": {"a"},
            "rate(a[$__rate_interval]) / rate (b[1m:5s])": {"a", "b"},
        }
        for expression, expected in cases.items():
            self.assertEqual(promql.names(expression), expected, expression)


class Rules(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        rules = promql.rules()
        cls.alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
        cls.recorded = {rule["record"]: rule for rule in rules if "record" in rule}

    def reads(self, expression):
        """Metrics of a Well that an expression reads, itself or through what is recorded."""
        found = set()
        for name in promql.names(expression):
            recorded = self.recorded.get(name)
            found |= self.reads(recorded["expr"]) if recorded else {name}
        return found

    def test_promtool_takes_the_configuration(self):
        run = promtool("check", "config", "--lint-fatal", promql.PROMETHEUS / "prometheus.yml")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_unit_tests_of_the_rules(self):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for run in pool.map(lambda path: promtool("test", "rules", path), TESTS):
                self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_every_alert_is_tested_firing_and_quiet(self):
        seen = {name: set() for name in self.alerts}
        for path in TESTS:
            for group in yaml.safe_load(path.read_text())["tests"]:
                given = set().union(*(promql.names(series["series"]) for series in group["input_series"]))
                for case in group["alert_rule_test"]:
                    name = case["alertname"]
                    self.assertIn(name, self.alerts, f"{path.name} tests an alert that is not there")
                    # Silence without the series that the alert reads would prove nothing.
                    if not case["exp_alerts"] and not given & self.reads(self.alerts[name]["expr"]):
                        self.fail(f"{path.name}, {group['name']}: {name} is quiet for want of data")
                    seen[name].add("firing" if case["exp_alerts"] else "quiet")
        self.assertEqual(seen, {name: {"firing", "quiet"} for name in self.alerts})

    def test_every_alert_says_what_it_must(self):
        for name, alert in self.alerts.items():
            with self.subTest(name):
                self.assertIn(alert["labels"]["severity"], ("page", "ticket"))
                self.assertEqual(set(alert["annotations"]), {"summary", "description", "runbook_url"})
                self.assertEqual(alert["annotations"]["runbook_url"], f"docs/runbooks/{name}.md")

    def test_every_alert_has_a_runbook_and_no_runbook_is_left_over(self):
        pages = {path.stem: path.read_text() for path in promql.RUNBOOKS.glob("*.md")}
        table = pages.pop("README")
        self.assertEqual(set(pages), set(self.alerts))
        for name, text in pages.items():
            with self.subTest(name):
                sections = re.findall(r"^## (.*)\n\n(?=\S)", text, re.MULTILINE)
                self.assertEqual(sections, ["What users feel", "How to confirm", "What to do", "What not to do"])
                severity = self.alerts[name]["labels"]["severity"]
                self.assertIn(f"| [{name}]({name}.md) | {severity} |", table)
                for link in re.findall(r"\]\(([^):]+\.md)\)", text):
                    self.assertTrue((promql.RUNBOOKS / link).exists(), link)

    def test_recorded_names_are_level_metric_operation(self):
        for name in self.recorded:
            self.assertRegex(name, r"^[a-z_]+:well_[a-z_]+:[a-z_]+\d+[mhd]$")

    def test_nothing_names_a_metric_that_a_well_lacks(self):
        known = promql.documented() | set(self.recorded) | promql.BUILT_IN
        unknown = set()
        asked = [(f"rule {name}", rule["expr"]) for name, rule in {**self.alerts, **self.recorded}.items()]
        asked += [(f"{board}, {panel}", query) for board, panel, query in promql.panels()]
        for where, expression in asked:
            unknown |= {(where, name) for name in promql.names(expression) - known}
        for path in promql.RUNBOOKS.glob("*.md"):
            named = re.findall(r"(?<![:\w])(?:(?:well|process)_\w+|\w+:well_\w+:\w+)", path.read_text())
            unknown |= {(path.name, name) for name in set(named) - known}
        self.assertEqual(unknown, set(), "not in docs/metrics.md, and not recorded")


if __name__ == "__main__":
    unittest.main()
