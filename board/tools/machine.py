"""A virtual machine with a disk image: its serial log with times, a console for commands, an end like a pulled plug."""

import os
import re
import secrets
import select
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

MACHINES = {
    "qemu-x86_64": ["qemu-system-x86_64", "-M", "q35", "-cpu", "qemu64", "-m", "512"],
    "qemu-arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "512"],
    # Another's system.
    "systemd-x86_64": ["qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-m", "1024"],
}
# What boots from the disk, where no kernel is named on the command line.
FIRMWARE = {"qemu-x86_64": "/usr/share/ovmf/OVMF.fd", "qemu-arm64": "/usr/lib/u-boot/qemu_arm64/u-boot.bin"}
BOARDS = [name for name in MACHINES if name.startswith("qemu-")]
PROGRAMS = {
    "qemu-x86_64": {"qemu-system-x86_64": "qemu-system-x86", FIRMWARE["qemu-x86_64"]: "ovmf"},
    "qemu-arm64": {"qemu-system-aarch64": "qemu-system-arm", FIRMWARE["qemu-arm64"]: "u-boot-qemu"},
    "systemd-x86_64": {"qemu-system-x86_64": "qemu-system-x86"},
}


class Failed(Exception):
    """Something did not happen in the virtual machine."""


class Machine:
    """QEMU with one disk. Every line of its serial port goes to `log`, with the seconds since it was switched on."""

    def __init__(self, board, disk, log, writes=None, boots_with=(), cache="writeback"):
        self.scratch = tempfile.TemporaryDirectory(prefix="goalpost-vm-")
        self.socket_path = Path(self.scratch.name) / "console"
        self.log = log
        self.lines = []
        self.changed = threading.Condition()
        drive = ["-drive", f"if=none,file={disk},format=raw,id=d,cache={cache}"]
        if writes:
            # Each write is recorded with the flushes between, so that a lost cache can be played afterwards.
            drive = [
                "-blockdev", f"driver=file,filename={disk},node-name=f0", "-blockdev", f"driver=file,filename={writes},node-name=l0",
                "-blockdev", "driver=raw,file=f0,node-name=r0", "-blockdev",
                "driver=blklogwrites,file=r0,log=l0,node-name=d,log-sector-size=512,log-super-update-interval=1",
            ]
        boots_with = boots_with or ["-bios", FIRMWARE[board]]
        command = [
            *MACHINES[board], *boots_with, "-smp", "2", "-nographic", "-monitor", "none", "-serial", "stdio", "-net", "none", *drive,
            "-device", "virtio-blk-pci,drive=d", "-device", "i6300esb", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=c,path={self.socket_path},server=on,wait=off", "-device", "virtconsole,chardev=c",
        ]
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.console = None
        self.unread = b""

    def seconds(self):
        """Since it was switched on."""
        return time.monotonic() - self.began

    def _read(self):
        buffer = b""
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            buffer += chunk
            *whole, buffer = buffer.split(b"\n")
            with self.changed:
                for line in whole:
                    text = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", line.decode(errors="replace")).strip("\r")
                    self.lines.append(text)
                    self.log.write(f"[{self.seconds():8.2f}] {text}\n")
                self.log.flush()
                self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def wait_for(self, pattern, timeout, since=0):
        """The number of the first line from `since` on that matches."""
        expression, until = re.compile(pattern), time.monotonic() + timeout
        at = since
        with self.changed:
            while True:
                while at < len(self.lines):
                    if expression.search(self.lines[at]):
                        return at
                    at += 1
                left = until - time.monotonic()
                if left <= 0 or self.process.poll() is not None:
                    raise Failed(f"no line matched {pattern!r} within {timeout} s")
                self.changed.wait(min(left, 1))

    def _connect(self):
        """QEMU makes the socket a moment after it was started."""
        console = socket.socket(socket.AF_UNIX)
        try:
            console.connect(str(self.socket_path))
            self.console = console
        except OSError:
            console.close()
            time.sleep(0.2)

    def _until(self, mark, until):
        while mark not in self.unread:
            left = until - time.monotonic()
            if left <= 0 or self.process.poll() is not None:
                return None
            if select.select([self.console], [], [], min(left, 1))[0]:
                self.unread += self.console.recv(65536)
            else:
                # The guest's driver now and then sleeps on what it was sent last: an empty command wakes it.
                self.console.sendall(b"\n")
        said, _, self.unread = self.unread.partition(mark)
        return said

    def try_command(self, text, timeout):
        """Runs a command in the container that takes them: its exit code and what it printed, or nothing if nobody answers."""
        if not self.console:
            self._connect()
        if not self.console:
            return None
        mark = secrets.token_hex(8)
        # The mark is put together there, so that an echo of the command is not taken for its end.
        self.console.sendall(f"echo BEGIN{mark[:4]}''{mark[4:]}; {{ {text}; }} </dev/null >/tmp/said 2>&1; code=$?; cat /tmp/said; echo END{mark[:4]}''{mark[4:]} $code .\n".encode())
        until = time.monotonic() + timeout
        said = self._until(f"END{mark} ".encode(), until)
        code = self._until(b" .", until) if said is not None else None
        if code is None:
            return None
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode(errors="replace")).replace("\r", "")
        return int(code), said.split(f"BEGIN{mark}\n", 1)[-1]

    def command(self, text, timeout=60):
        """Likewise, asked again until somebody answers."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0 and self.process.poll() is None:
            if (answer := self.try_command(text, min(left, 4))) is not None:
                return answer
        raise Failed(f"nobody answered {text!r} within {timeout} s")

    def pull_plug(self):
        """Off, at once."""
        self.process.kill()
        self.process.wait()
        self.reader.join()
        if self.console:
            self.console.close()
        self.scratch.cleanup()

    def wait_off(self, timeout):
        """It must switch itself off."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"it was not off within {timeout} s") from error
        finally:
            self.pull_plug()
