"""The table of what was tested in virtual machines."""

import re

HEAD = """# What was tested in virtual machines

Written by `board/run BOARD --test`, `board/plug-pull` and `board/systemd/check`; each row is from the last run of its board.

| Board | What | What became of it | Time |
|---|---|---|---|
"""


class Results:
    """Rows by board and subject; a new one takes the place of the former."""

    def __init__(self, path):
        self.path, self.new = path, {}

    def add(self, board, subject, outcome, seconds):
        """What became of it."""
        self.new[board, subject] = outcome.replace("|", "\\|").replace("\n", " "), seconds

    def write(self):
        """Writes the table: what others have written meanwhile stays."""
        was = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            cells = re.match(r"\| (qemu-\S+|systemd-\S+|rpi4) \| (.*?) \| (.*) \| (.*?) \|$", line)
            if cells:
                was[cells[1], cells[2]] = cells[3], cells[4]
        rows = (f"| {board} | {subject} | {outcome} | {seconds} |\n" for (board, subject), (outcome, seconds) in (was | self.new).items())
        self.path.write_text(HEAD + "".join(rows))
