"""A virtual device under test: asked, posted to and waited for, over restarts."""

import json
import time

from machine import Failed, Machine


class Wrong(Exception):
    """Something else became of an update than what should."""


class Device:
    """A virtual device that is asked through its console's shell."""

    def __init__(self, board, disk, log, ctl="/pantavisor/bin/goalctl", boots_with=()):
        self.board, self.disk, self.log = board, disk, log
        self.ctl, self.boots_with = ctl, list(boots_with)
        self.slow = 3 if board == "qemu-arm64" else 1
        self.machine = None

    def on(self):
        self.machine = Machine(self.board, self.disk, self.log, boots_with=self.boots_with)

    def off(self):
        if self.machine:
            self.machine.pull_plug()
            self.machine = None

    def ask(self, words, timeout=60):
        """What goalctl prints as JSON."""
        code, said = self.machine.command(f"{self.ctl} {words}", timeout * self.slow)
        if code:
            raise Failed(f"goalctl {words}: exit code {code}: {said.strip()}")
        return json.loads(said[said.index("{"):] if "{" in said else said)

    def _asked(self, what, look, timeout):
        """Looks again and again, over restarts of the device, until what is seen is what was waited for; that."""
        until, seen = time.monotonic() + timeout * self.slow, "nothing"
        while time.monotonic() < until and self.machine.process.poll() is None:
            try:
                seen, is_it = look()
                if is_it:
                    return seen
            except (Failed, ValueError) as error:
                seen = str(error)
            time.sleep(0.5)
        raise Failed(f"{what} within {timeout * self.slow} s; last seen: {str(seen)[:600]}")

    def until(self, what, check, timeout):
        """Asks for the status until `check` likes it."""

        def look():
            status = self.ask("status --json", 20)
            return status, check(status)

        return self._asked(what, look, timeout)

    def ready(self, revision, timeout=120):
        """Runs this revision, every goal met, nothing under way."""

        def check(status):
            goals = all(one["goal"] == "met" for one in status["containers"])
            return status.get("revision") == revision and status.get("phase") == "running" and goals

        return self.until(f"revision {revision} with every goal met", check, timeout)

    def progress(self, revision):
        """Its progress document, in words: the status first, then why, a line each."""
        code, said = self.machine.command(f"{self.ctl} progress {revision}", 20 * self.slow)
        if code or not said.strip():
            raise Failed(f"goalctl progress {revision}: exit code {code}: {said.strip()}")
        return said.strip()

    def post(self, package, name):
        """Once: a second one would find the first under way."""
        answer = self.machine.try_command(f"{self.ctl} post {package} --name {name} --run", 120 * self.slow)
        if answer is None or answer[0]:
            raise Failed(f"goalctl post {package}: {'no answer' if answer is None else answer[1].strip()}")

    def ends(self, revision, statuses, timeout=180):
        """Waits until its update is over; how it went."""

        def look():
            progress = self.progress(revision)
            status = progress.split()[0]
            is_over = status in ("DONE", "UPDATED", "ERROR", "WONTGO")
            if is_over and status not in statuses:
                raise Wrong(f"revision {revision}: {progress}")
            return progress, is_over

        return self._asked(f"the update to {revision} over", look, timeout)


def told(progress):
    return "; ".join(line.strip() for line in progress.splitlines())
