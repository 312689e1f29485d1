"""Each alert fires by its real cause, and ends with it: a real Prometheus asks a real Well that is really hurt.

The page's ribbon of events tells of the same. A story is a Well, a Prometheus with the project's rules on a faster clock (faster.py), and what happens to the Well.
Two stories go on at once, because most of their time is waiting.
"""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import threading
import time
import unittest

import promql
import servers
from pages import Page

# How many times faster the clock of the rules is: 5 minutes become one second.
TIMES = 300
# The archiver's pauses are not faster: up to 30 s, which have to fit into what was 5 minutes.
TIMES_OF_PAUSES = 8
TIMES_OF_LAG = 30

# Rightly told of every Well on a machine whose own disk is nearly full.
OF_THE_DISK = {"WellDiskFills", "WellDiskNearlyFull"}
DISK_BYTES = 1 << 30
MIB = 1 << 20


class Watch:
    """A Prometheus that watches a Well, and which alerts were seen to fire and to end."""

    seen = set()

    def __init__(self, well, times=TIMES, own_disk=False):
        self.prometheus = servers.Prometheus(well, times)
        self.stop = self.prometheus.stop
        servers.until("the Well is asked", lambda: self.prometheus.values('up{job="well"}') == [1.0])
        time.sleep(2)
        firing = self.prometheus.firing() - (set() if own_disk else OF_THE_DISK)
        assert firing == set(), f"a Well that is well is left alone, but {firing}"

    def fire(self, *names):
        """Waits until all of these fire at once."""
        self.wait("fire", set(names), lambda firing: firing >= set(names))

    def end(self, *names):
        """Waits until these, which have fired, do not any more."""
        self.wait("end", set(names), lambda firing: not firing & set(names))
        Watch.seen |= set(names)

    def wait(self, what, names, done, patience=120):
        deadline = time.monotonic() + patience
        while not done(firing := self.prometheus.firing()):
            assert time.monotonic() < deadline, f"{names} do not {what} within {patience} s: {firing} fire"
            time.sleep(0.05)


@contextlib.contextmanager
def ended(server):
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def always(do):
    """Does it again and again, in a thread of its own; what goes wrong in it goes wrong here."""
    over = threading.Event()

    def again():
        while not over.is_set():
            do()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        doing = pool.submit(again)
        try:
            yield
        finally:
            over.set()
        doing.result(servers.PATIENCE)


class Writer:
    """A page that writes one update after the other, each once the one before is durable."""

    def __init__(self, well, room):
        self.page = Page(well.address, room)
        self.written = 0

    def __call__(self):
        self.page.write(1, self.written)
        self.written += 1
        assert self.page.settle(), "the connection ended"


def a_disk_that_is_slow_hangs_and_fails():
    with contextlib.ExitStack() as stack:
        switches = stack.enter_context(ended(servers.Switches()))
        well = stack.enter_context(ended(servers.Well(environment=switches.environment)))
        watch = stack.enter_context(ended(Watch(well)))

        with always(Writer(well, "doc/busy")):
            time.sleep(2)
            with switches.on("slow"):
                watch.fire("WellAckBudgetBurnsFast", "WellAckBudgetBurnsSlowly")
            watch.end("WellAckBudgetBurnsFast", "WellAckBudgetBurnsSlowly")

        # Who joins is shown nothing that is not durable yet, so a disk that hangs holds up joins, too.
        writer = Page(well.address, "doc/hung")
        with switches.on("hold"):
            writer.write(1, 0)
            pages = [Page(well.address, "doc/hung") for _ in range(20)]
            for page in pages:
                page.ask()
            watch.fire("WellDurabilityLags")
        assert writer.settle() and all(page.joined() for page in pages)
        watch.fire("WellJoinBudgetBurnsFast", "WellJoinBudgetBurnsSlowly")

        def visit():
            page = Page(well.address, "doc/hung")
            page.ask()
            assert page.joined()
            page.close()

        with always(visit):
            watch.end("WellDurabilityLags", "WellJoinBudgetBurnsFast", "WellJoinBudgetBurnsSlowly")

        with switches.on("fail"):
            writer.write(1, 1)
            assert not writer.settle(), "nothing is acked that is not on the disk"
            status = well.process.wait(servers.PATIENCE)
            assert status > 0, f"it ends by itself, and says that all is not well: {status}"
            watch.fire("WellDown")
        well.kill()
        well.start()
        watch.fire("WellLogPoisoned")
        well.tells("log_poisoned")
        watch.end("WellDown", "WellLogPoisoned")


def a_well_that_starts_again_and_again():
    with contextlib.ExitStack() as stack:
        well = stack.enter_context(ended(servers.Well()))
        watch = stack.enter_context(ended(Watch(well)))
        starts = set()

        def another_start():
            starts.update(watch.prometheus.values("well_start_time_seconds"))
            return len(starts) > before

        while "WellRestarts" not in watch.prometheus.firing():
            assert len(starts) < 20, "it does not fire"
            before = len(starts)
            servers.until("the start is seen", another_start)
            well.kill()
            well.start()
        watch.end("WellRestarts")


def a_disk_that_fills():
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(ended(Disk()))
        well = stack.enter_context(ended(servers.Well(data=disk.mounted / "data")))
        watch = stack.enter_context(ended(Watch(well, own_disk=True)))

        left = 440
        disk.leave(left * MIB)
        while "WellDiskFills" not in watch.prometheus.firing():
            assert left > 280, "nobody foresees that the disk will be full"
            time.sleep(0.5)
            left -= 4
            disk.leave(left * MIB)
        disk.leave(200 * MIB)
        watch.fire("WellDiskNearlyFull")
        disk.leave(32 * MIB)
        page = Page(well.address, "doc/full")
        page.write(1, 0)
        assert not page.settle(), "below 64 MiB nothing is written"
        watch.fire("WellRoomsPoisoned")

        disk.leave(None)
        watch.end("WellDiskFills", "WellDiskNearlyFull", "WellRoomsPoisoned")
        Writer(well, "doc/full")()


def an_archive_that_is_away():
    with contextlib.ExitStack() as stack:
        well = stack.enter_context(ended(servers.Well('[spaces.blob]\nkind = "opaque"\n')))
        pauses = stack.enter_context(ended(Watch(well, TIMES_OF_PAUSES)))
        lag = stack.enter_context(ended(Watch(well, TIMES_OF_LAG)))

        away = well.archive.rename(well.archive.with_name("away"))
        well.archive.write_text("there is no folder any more")
        # So much is archived at once.
        sender = well.client("send", "blob/large", stdin=subprocess.PIPE, text=True)
        sender.communicate("".join("x" * 60_000 + "\n" for _ in range(300)), timeout=servers.PATIENCE)
        assert sender.returncode == 0, "an archive that is away stops nobody"
        lag.fire("WellArchiveLags")
        pauses.fire("WellArchiveFails")
        well.tells("archive_error")

        well.archive.unlink()
        away.rename(well.archive)
        lag.end("WellArchiveLags")
        pauses.end("WellArchiveFails")
        well.tells("archive_recovered")


def a_clock_that_jumps():
    with contextlib.ExitStack() as stack:
        switches = stack.enter_context(ended(servers.Switches()))
        well = stack.enter_context(ended(servers.Well(environment=switches.environment)))
        watch = stack.enter_context(ended(Watch(well)))
        with switches.on("ahead"):
            watch.fire("WellClockJumped")
            well.tells("clock_jump")
        watch.end("WellClockJumped")


def a_certificate_near_its_end():
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(ended(Certificate(days=60)))
        config = f'[tls]\ncert = "{files.cert}"\nkey = "{files.key}"\n'
        well = stack.enter_context(ended(servers.Well(config)))
        watch = stack.enter_context(ended(Watch(well)))

        def serve(days):
            files.make(days)
            well.process.send_signal(signal.SIGHUP)

        serve(days=10)
        watch.fire("WellCertificateExpires")
        well.tells("certificate")
        assert "WellCertificateEnds" not in watch.prometheus.firing(), "ten days are enough"
        serve(days=1)
        watch.fire("WellCertificateEnds")
        serve(days=90)
        watch.end("WellCertificateExpires", "WellCertificateEnds")


def a_flood():
    with contextlib.ExitStack() as stack:
        well = stack.enter_context(ended(servers.Well("[spaces.doc]\njoins_per_ip_per_minute = 30\n")))
        watch = stack.enter_context(ended(Watch(well)))

        def come():
            page = Page(well.address, "doc/door")
            page.ask()
            page.joined()
            page.close()

        with always(come):
            watch.fire("WellLimitsSurge")
            well.tells("limit_surge")
        watch.end("WellLimitsSurge")


class Disk(servers.Server):
    """A small file system of one's own, on a loop device."""

    def __init__(self):
        super().__init__()
        assert os.geteuid() == 0, "a file system is mounted for this: that takes root"
        image = self.folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        self.mounted = self.folder / "mounted"
        self.mounted.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, timeout=servers.PATIENCE)
        subprocess.run(["mount", "-o", "loop", image, self.mounted], check=True, timeout=servers.PATIENCE)
        self.ballast = self.mounted / "ballast"

    def leave(self, free):
        """Takes what is free, but for so many bytes; or gives all of it back."""
        if free is None:
            self.ballast.unlink()
            return
        with self.ballast.open("ab") as file:
            seen = os.statvfs(self.mounted)
            taken = seen.f_bavail * seen.f_frsize - free
            if taken > 0:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), taken)

    def stop(self):
        subprocess.run(["umount", self.mounted], check=True, timeout=servers.PATIENCE)
        super().stop()


class Certificate(servers.Server):
    """A certificate that nobody but its owner has signed, and its key."""

    def __init__(self, days):
        super().__init__()
        self.cert, self.key = self.folder / "cert.pem", self.folder / "key.pem"
        self.make(days)

    def make(self, days):
        fresh = [self.folder / "fresh-cert.pem", self.folder / "fresh-key.pem"]
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost".split()
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-days", days, "-out", fresh[0], "-keyout", fresh[1]]
        subprocess.run([*map(str, command)], check=True, capture_output=True, timeout=servers.PATIENCE)
        fresh[1].rename(self.key)
        fresh[0].rename(self.cert)


# The one that waits for most is first.
STORIES = (
    an_archive_that_is_away,
    a_disk_that_is_slow_hangs_and_fails,
    a_well_that_starts_again_and_again,
    a_disk_that_fills,
    a_clock_that_jumps,
    a_certificate_near_its_end,
    a_flood,
)


class Alerts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        pool = concurrent.futures.ThreadPoolExecutor(2)
        cls.addClassCleanup(pool.shutdown, cancel_futures=True)
        cls.told = {story: pool.submit(story) for story in STORIES}

    def test_every_alert_has_fired_by_its_cause_and_ended_with_it(self):
        concurrent.futures.wait(self.told.values())
        alerts = {rule["alert"] for rule in promql.rules() if "alert" in rule}
        self.assertEqual(Watch.seen, alerts)


def told(story):
    return lambda self: self.told[story].result()


for story in STORIES:
    setattr(Alerts, f"test_{story.__name__}", told(story))


if __name__ == "__main__":
    unittest.main()
