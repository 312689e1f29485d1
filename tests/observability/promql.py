"""Which metrics an expression reads, which ones a Well has, and what our rules are called."""

import json
import pathlib
import re

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs/runbooks"

# Prometheus' own.
BUILT_IN = {"up", "ALERTS"}
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
ROW = re.compile(r"^\| `([a-z_0-9]+)(?:\{[^`]*\})?` \| (counter|gauge|histogram|summary)\b", re.MULTILINE)


def names(expression):
    """The metrics that an expression of PromQL reads."""
    bare = re.sub(r"#.*", "", expression)
    for noise in (r'"(?:\\.|[^"\\])*"', r"\{[^}]*\}", r"\[[^\]]*\]", GROUPING):
        bare = re.sub(noise, " ", bare)
    # An identifier: not the unit of a duration or an exponent, and not a function.
    found = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\w)(?!\s*\()", bare)
    return {name for name in found if name not in WORDS}


def documented():
    """What docs/metrics.md names, with the series that a histogram makes."""
    path = ROOT / "docs/metrics.md"
    known = set()
    for name, kind in ROW.findall(path.read_text()):
        known.add(name)
        if kind in ("histogram", "summary"):
            known |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    if not known:
        raise AssertionError(f"{path} has no row like | `name` | type |")
    return known


def rules():
    """Every rule of prometheus.yml, as Prometheus reads them."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    files = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in config["rule_files"]]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def panels():
    """(dashboard, panel, query) for everything that a dashboard asks, its variables too."""
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield path.name, panel["title"], target["expr"]
        for note in board["annotations"]["list"]:
            yield path.name, f"annotation {note['name']}", note["expr"]
        for variable in board["templating"]["list"]:
            series = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])
            yield path.name, f"variable {variable['name']}", series.group(1)
