"""`well bench`, as people and scripts use it."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

import servers


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_it_measures_and_leaves_nothing_behind(self):
        # The data folder need not be there: it is the disk that counts.
        ran = servers.run("bench", "--seconds", "2", "--json", "--data", self.folder / "not/yet", patience=120)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual(list(self.folder.iterdir()), [])
        told = json.loads(ran.stdout)
        self.assertEqual([row["in_flight"] for row in told["log"]], [1, 64, 1000])
        self.assertEqual([row["sessions"] for row in told["server"]], [1, 64])
        for times in (told["sync"], *(row["ack"] for row in told["server"])):
            self.assertGreater(times["count"], 0)
            self.assertLess(0, times["p50_seconds"])
            self.assertLessEqual(times["p50_seconds"], times["p99_seconds"])
        for row in told["log"]:
            self.assertLess(0, min(row["appends_per_second"], row["bare_per_second"]))
        self.assertIn(told["verdict"], ("good", "poor"))
        self.assertEqual(told["verdict"] == "good", told["remarks"] == [])
        self.assertGreater(told["lone_ack_syncs"], 0)

    def test_the_report_is_read_by_people(self):
        ran = servers.run("bench", "--seconds", "2", "--data", self.folder, patience=120)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        for line in (r"^syncs of 4 KiB in ", r"^ +1000 +\d+ +\d+ +\d\.\d\d +0\.\d\d$", r"^ +64 +8 +\d+ ", r"^verdict: "):
            self.assertRegex(ran.stdout, re.compile(line, re.MULTILINE))

    def test_ctrl_c_leaves_nothing_behind_either(self):
        for when in (0.5, 4.0):
            with self.subTest(when):
                process = subprocess.Popen(
                    [servers.binary(), "bench", "--seconds", "9", "--data", self.folder],
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                )
                servers.until("it has begun", lambda: list(self.folder.iterdir()))
                time.sleep(when)
                # As the terminal does: to it and to the server that it may have started.
                os.killpg(process.pid, signal.SIGINT)
                said, complained = process.communicate(timeout=servers.PATIENCE)
                self.assertEqual((process.returncode, said), (1, ""), complained)
                self.assertIn("it was stopped", complained)
                self.assertEqual(list(self.folder.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
