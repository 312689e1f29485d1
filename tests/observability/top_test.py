"""`well top`, as people and scripts use it."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import unittest

import servers
from pages import Page

COLUMNS, ROWS = 160, 40
SECRET = "a secret of more than 32 bytes, for tests"
LEAVES = "\x1b[?1049l"


class Terminal:
    """A command on a terminal of its own, and what it shows."""

    def __init__(self, *arguments):
        self.screen = ""
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execv(servers.binary(), [servers.binary(), *arguments])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def echoes(self):
        """Whether keys are shown as they are pressed, as before a program takes them for itself."""
        return bool(termios.tcgetattr(self.terminal)[3] & termios.ECHO)

    def press(self, keys):
        os.write(self.terminal, keys.encode())

    def look(self):
        """The latest whole picture. All that was ever shown is in `screen`."""
        ready, _, _ = select.select([self.terminal], [], [], 0.1)
        with contextlib.suppress(OSError):  # it has ended
            if ready:
                self.screen += os.read(self.terminal, 1 << 16).decode(errors="replace")
        pictures = self.screen.split("\x1b[H")
        return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", pictures[-2] if len(pictures) > 2 else "")

    def shows(self, text):
        return servers.until(f"the terminal shows {text!r}", lambda: text in (picture := self.look()) and picture)

    def ends(self):
        """Its exit code. Reads what it still says, or it could not end."""

        def ended():
            self.look()
            pid, status = os.waitpid(self.process, os.WNOHANG)
            return pid and (status,)

        (status,) = servers.until("the command ends", ended)
        self.process = None
        return os.waitstatus_to_exitcode(status)

    def stop(self):
        if self.process is not None:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        os.close(self.terminal)


class Top(unittest.TestCase):
    def setUp(self):
        self.well = servers.Well()
        self.addCleanup(self.well.stop)
        self.page = Page(self.well.address, "doc/notes")
        self.addCleanup(self.page.close)
        self.page.write(1, 0)
        self.assertTrue(self.page.settle())

    def test_once_is_plain_text(self):
        # What a second has brought is in the next sample.
        def told():
            once = servers.run("top", "--once", "--url", self.well.url)
            self.assertEqual(once.returncode, 0, once.stderr)
            return "yjs WebSocket 1 " in once.stdout and once.stdout

        text = servers.until("the session is told of", told)
        self.assertNotIn("\x1b", text)
        self.assertRegex(text.splitlines()[0], r"^http://127\.0\.0\.1:\d+  answers$")
        self.assertRegex(text, r"(?m)^doc/notes +yjs +\d+ +\S+ B +1 +0 +1 ")
        self.assertRegex(text, r"(?m)^disk +log \S+ \wi?B   free \S+ \wiB of \S+ \wiB$")

    def test_json_is_an_object_a_line(self):
        once = servers.run("top", "--once", "--json", "--url", self.well.url)
        self.assertEqual(once.returncode, 0, once.stderr)
        told = json.loads(once.stdout)
        self.assertEqual(set(told), {"at", "values", "stages", "not_ready", "rooms", "loaded"})
        self.assertEqual([room["room"] for room in told["rooms"]], ["doc/notes"])

    def test_a_server_that_is_not_there_is_said_not_to_be(self):
        self.well.kill()
        once = servers.run("top", "--once", "--url", self.well.url)
        self.assertEqual((once.returncode, once.stdout), (1, ""))
        self.assertIn("does not answer", once.stderr)
        once = servers.run("top", "--once", "--json", "--url", self.well.url)
        self.assertEqual((once.returncode, set(json.loads(once.stdout))), (1, {"error"}))
        for form in ((), ("--by", "bytes")):
            unseen = servers.run("top", *form, "--url", self.well.url)
            self.assertEqual(unseen.returncode, 1)
            self.assertIn("say --once or --json", unseen.stderr)

    def test_it_draws_orders_and_outlives_the_server(self):
        terminal = Terminal("top", "--url", self.well.url, "--every", "200ms")
        self.addCleanup(terminal.stop)
        picture = terminal.shows("doc/notes")
        self.assertIn("UPDATES/S↓", picture)
        self.assertLessEqual(len(picture.splitlines()), ROWS)
        terminal.press("s")
        terminal.shows("SESSIONS↓")
        self.well.kill()
        picture = terminal.shows("NO ANSWER for")
        self.assertIn("doc/notes", picture, "what was known is still there")
        self.well.start()
        terminal.shows("  answers")
        terminal.press("q")
        self.assertEqual(terminal.ends(), 0)
        self.assertTrue(terminal.screen.endswith(LEAVES), repr(terminal.screen[-40:]))

    def test_ctrl_c_gives_the_terminal_back(self):
        terminal = Terminal("top", "--url", self.well.url)
        self.addCleanup(terminal.stop)
        terminal.shows("doc/notes")
        self.assertFalse(terminal.echoes())
        terminal.press("\x03")
        self.assertEqual(terminal.ends(), 0)
        self.assertTrue(terminal.echoes())


class Observer(unittest.TestCase):
    def test_where_not_all_is_open_it_takes_a_token(self):
        well = servers.Well('[spaces.shut]\naccess = "token"\n', environment={"WELL_AUTH_SECRET": SECRET})
        self.addCleanup(well.stop)
        without = servers.run("top", "--once", "--url", well.url)
        self.assertEqual(without.returncode, 1)
        self.assertIn("--role observer", without.stderr)
        minted = servers.run("token", "mint", "--secret", SECRET, "--role", "observer", "--room", "*/*")
        self.assertEqual(minted.returncode, 0, minted.stderr)
        token = {"WELL_TOKEN": minted.stdout.strip()}
        shown = servers.run("top", "--once", "--url", well.url, environment=token)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertNotIn(token["WELL_TOKEN"], servers.run("top", "--help", environment=token).stdout)


if __name__ == "__main__":
    unittest.main()
