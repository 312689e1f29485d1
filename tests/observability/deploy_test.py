"""How the Well is run by others: a unit of systemd, an image, a composition."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import unittest

import yaml

import promql
import servers

DEPLOY = promql.ROOT / "deploy"
IMAGE = DEPLOY / "image.sh"


def run(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, **options)


class Unit(unittest.TestCase):
    def test_systemd_finds_little_exposed(self):
        # The threshold is in tenths: 2.0.
        unit = DEPLOY / "systemd/well.service"
        found = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", unit)
        self.assertIn("Overall exposure level", found.stdout + found.stderr)
        self.assertEqual(found.returncode, 0, found.stdout)


class Image(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
        lines = text.replace("\\\n", " ").splitlines()
        cls.steps = [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]

    def all(self, instruction):
        return [rest for name, rest in self.steps if name == instruction]

    def health(self):
        (line,) = self.all("HEALTHCHECK")
        return json.loads(line.split("CMD", 1)[1])

    def test_it_is_the_binary_alone_and_nobody_special(self):
        self.assertEqual(self.all("FROM"), ["scratch"])
        self.assertEqual(self.all("RUN") + self.all("ADD"), [], "there is no shell, and nothing is fetched")
        (user,) = self.all("USER")
        self.assertRegex(user, r"^[1-9]\d*:[1-9]\d*$", "a number: there is no /etc/passwd")
        self.assertIn(f"--chown={user} data /data", self.all("COPY"), "its folder is its own")
        (entry,), (command,) = self.all("ENTRYPOINT"), self.all("CMD")
        self.assertEqual((json.loads(entry), json.loads(command)), (["/well"], ["serve"]))

    def test_what_is_copied_is_what_the_script_lays_there(self):
        copied = {shlex.split(line)[-2] for line in self.all("COPY")}
        laid = set(re.findall(r'"\$context/([\w.]+)"', IMAGE.read_text()))
        self.assertEqual(copied, laid)

    def test_its_variables_are_those_of_the_binary(self):
        known = set(re.findall(r"env: (WELL_\w+)", run(servers.binary(), "serve", "--help").stdout))
        (line,) = self.all("ENV")
        named = set(re.findall(r"WELL_\w+", line))
        composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["well"]["environment"]
        named |= {name for name in composed if name.startswith("WELL_")}
        self.assertLessEqual({"WELL_LISTEN", "WELL_DATA", "WELL_ARCHIVE"}, named)
        self.assertEqual(named - known, set())

    def test_its_health_check_tells_a_well_that_runs_from_one_that_does_not(self):
        command = [servers.binary(), *self.health()[1:]]
        well = servers.Well()
        self.addCleanup(well.stop)
        # In its container it knows the address from the same variable as the server.
        environment = {**os.environ, "WELL_LISTEN": well.address}
        healthy = run(*command, env=environment)
        self.assertEqual(healthy.returncode, 0, healthy.stderr)
        everywhere = {**os.environ, "WELL_LISTEN": well.address.replace("127.0.0.1", "0.0.0.0")}
        self.assertEqual(run(*command, env=everywhere).returncode, 0, "0.0.0.0 is asked on loopback")
        well.stop()
        self.assertEqual(run(*command, env=environment).returncode, 1)

    def test_a_binary_that_would_not_start_in_it_is_refused(self):
        shell = pathlib.Path("/bin/sh").resolve()
        refused = run(IMAGE, shell)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is not static", refused.stderr)

    def test_a_builder_takes_it(self):
        builder = run(IMAGE, "builder")
        if builder.returncode != 0:
            self.skipTest(f"the image was NOT built: {builder.stderr.strip()}")
        # Any static binary shows that the file is right; a real one is `make image`'s.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        source = pathlib.Path(folder.name) / "well.c"
        source.write_text("int main(void) { return 0; }\n")
        made = run("cc", "-static", "-o", source.with_suffix(""), source)
        self.assertEqual(made.returncode, 0, made.stderr)
        name = "the-well-test"
        built = run(IMAGE, source.with_suffix(""), name)
        self.assertEqual(built.returncode, 0, built.stdout + built.stderr)
        program = builder.stdout.strip()
        self.addCleanup(run, program, "rmi", name)
        if program == "buildah":
            return
        told = json.loads(run(program, "image", "inspect", name).stdout)[0]["Config"]
        self.assertEqual((told["User"], told["Entrypoint"]), (self.all("USER")[0], ["/well"]))
        started = run(program, "run", "--rm", "--read-only", "--network=none", name)
        self.assertEqual(started.returncode, 0, started.stderr)


class Composition(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = (DEPLOY / "compose.yaml").read_text()
        cls.whole = yaml.safe_load(cls.text)
        cls.services = cls.whole["services"]

    def test_the_four_are_there_each_watched_and_with_a_volume(self):
        for name in ("well", "prometheus", "grafana", "minio"):
            with self.subTest(name):
                service = self.services[name]
                self.assertEqual(service["healthcheck"]["test"][0], "CMD")
                kept = [volume.split(":")[0] for volume in service["volumes"]]
                self.assertTrue(set(kept) & set(self.whole["volumes"]), "what it writes survives it")

    def test_nothing_of_the_host_but_its_own_configuration(self):
        for name, service in self.services.items():
            with self.subTest(name):
                for volume in service.get("volumes", []):
                    source = volume.split(":")[0]
                    if source not in self.whole["volumes"]:
                        self.assertTrue(volume.endswith(":ro"), volume)
                        path = (DEPLOY / source).resolve()
                        self.assertTrue(path.is_relative_to(DEPLOY) and path.is_dir(), volume)
                for port in service.get("ports", []):
                    self.assertTrue(port.startswith("127.0.0.1:"), f"{port} is reached from elsewhere")
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertNotIn("privileged", service)
                if service["image"] != "the-well":
                    self.assertRegex(service["image"], r":(v?\d|RELEASE\.)", "a version, not the latest")

    def test_secrets_are_asked_for_and_not_written_down(self):
        for name, service in self.services.items():
            for variable, value in service.get("environment", {}).items():
                if re.search(r"PASSWORD|SECRET|MC_HOST", variable):
                    self.assertRegex(value, r"\$\{\w+:\?", f"{name}: {variable} has a default")

    def test_the_well_is_run_as_its_image_says(self):
        well = self.services["well"]
        self.assertTrue(well["read_only"])
        dockerfile = (DEPLOY / "Dockerfile").read_text()
        self.assertIn(f"CMD {json.dumps(well['healthcheck']['test'][1:])}", dockerfile)
        self.assertIn("VOLUME /data\n", dockerfile)
        self.assertIn("well-data:/data", well["volumes"])

    def test_prometheus_and_grafana_find_each_other(self):
        scraped = yaml.safe_load((promql.PROMETHEUS / "prometheus.yml").read_text())
        (job,) = scraped["scrape_configs"]
        self.assertEqual(job["static_configs"], [{"targets": ["well:4000"]}])
        sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
        (source,) = sources["datasources"]
        self.assertEqual(source["url"], "http://prometheus:9090")
        self.assertEqual(source["jsonData"]["timeInterval"], scraped["global"]["scrape_interval"])
        (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/well.yml").read_text())["providers"]
        folder = provider["options"]["path"]
        self.assertIn(f"./grafana/dashboards:{folder}:ro", self.services["grafana"]["volumes"])
        for path in promql.DASHBOARDS:
            uids = set(re.findall(r'"uid": "([\w-]+)"', path.read_text())) - {json.loads(path.read_text())["uid"]}
            self.assertEqual(uids, {source["uid"]}, path.name)

    def test_docker_compose_takes_it(self):
        if run("docker", "compose", "version").returncode != 0:
            self.skipTest("compose.yaml was NOT read by docker compose: it is not here")
        environment = {**os.environ, "MINIO_PASSWORD": "x", "GRAFANA_PASSWORD": "y"}
        read = run("docker", "compose", "-f", DEPLOY / "compose.yaml", "config", "--quiet", env=environment)
        self.assertEqual(read.returncode, 0, read.stderr)


class Dashboards(unittest.TestCase):
    def test_every_panel_can_be_read(self):
        uids = set()
        for path in promql.DASHBOARDS:
            board = json.loads(path.read_text())
            uids.add(board["uid"])
            numbers = [panel["id"] for panel in board["panels"]]
            self.assertEqual(len(numbers), len(set(numbers)), path.name)
            taken = set()
            for panel in board["panels"]:
                with self.subTest(f"{path.name}, {panel['title']}"):
                    place = panel["gridPos"]
                    cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
                    self.assertLessEqual(place["x"] + place["w"], 24)
                    self.assertFalse(cells & taken, "it lies on another")
                    taken |= cells
                    if panel["type"] == "row":
                        continue
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                    self.assertTrue(all(target["legendFormat"] for target in panel["targets"]))
        self.assertEqual(uids, {"the-well", "one-well"})


if __name__ == "__main__":
    unittest.main()
