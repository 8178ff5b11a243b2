"""Fetches Debian packages of any architecture into a cache, unpacked, with the machine's own apt sources and without root."""

import fcntl
import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "goalpost" / "board"


def run(*command, **options):
    """Runs a program; what it prints; a failure ends the build with what it said."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False, **options)
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")


def need(programs):
    """Installs what this machine lacks; `programs` maps a program to the package that brings it."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = {name for name in programs for folder in path.split(":") if (Path(folder) / name).exists()}
    os.environ["PATH"] = path
    missing = sorted({package for name, package in programs.items() if name not in found and not Path(name).exists()})
    if not missing:
        return
    if os.geteuid():
        raise SystemExit(f"these packages are missing: {' '.join(missing)}; install them with apt-get install")
    run("apt-get", "-qq", "install", "--no-install-recommends", "-y", *missing, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


class Packages:
    """The packages of one architecture."""

    def __init__(self, arch):
        self.arch = arch
        self.home = CACHE / arch
        for folder in ("lists/partial", "cache/archives/partial", "sources", "root"):
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        self.lock = open(self.home / "lock", "w", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.environment = {**os.environ, "APT_CONFIG": str(self._configure())}
        self.fresh = False

    def _configure(self):
        """The machine's own sources, with the component that firmware is in, for one architecture more."""
        seen = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(SIGNED_BY)", "Created-By: Packages")
        sources = sorted({tuple(line.split()) for line in seen.splitlines() if line.strip()})
        lines = []
        for site, release, *key in sources:
            signed = f"[signed-by={key[0]}] " if key and key[0].startswith("/") else ""
            lines.append(f"deb {signed}{site} {release} main non-free-firmware\n")
        (self.home / "sources.list").write_text("".join(lines))
        own = run("dpkg", "--print-architecture").strip()
        settings = self.home / "apt.conf"
        settings.write_text(
            f'Dir::Etc::sourcelist "{self.home}/sources.list";\nDir::Etc::sourceparts "{self.home}/sources";\n'
            f'Dir::State::lists "{self.home}/lists";\nDir::Cache "{self.home}/cache";\n'
            f'APT::Architectures {{ "{own}"; "{self.arch}"; }};\nAPT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\nAcquire::Retries "3";\nDebug::NoLocking "true";\n'
        )
        return settings

    def _update(self):
        if not self.fresh:
            # A list that cannot be had is missed when a package is not found, and only then.
            subprocess.run(["apt-get", "-qq", "update"], env=self.environment, capture_output=True, check=False)
            self.fresh = True

    def _known(self, name):
        """What apt calls it: a package for every architecture goes by the machine's own."""
        own = subprocess.run(["apt-cache", "show", f"{name}:{self.arch}"], env=self.environment, capture_output=True, check=False)
        return f"{name}:{self.arch}" if own.returncode == 0 else name

    def depends(self, name, prefix):
        """The first package that `name` depends on whose name begins with `prefix`."""
        self._update()
        for line in run("apt-cache", "show", self._known(name), env=self.environment).splitlines():
            if line.startswith("Depends:"):
                for word in line[8:].split(","):
                    if word.strip().startswith(prefix):
                        return word.split()[0]
        raise SystemExit(f"package {name} of {self.arch} depends on no {prefix}…")

    def unpacked(self, name):
        """The folder in which this package lies, unpacked."""
        folder = self.home / "root" / name
        if not folder.exists():
            self._update()
            archives = self.home / "cache" / "archives"
            run("apt-get", "-qq", "download", self._known(name), env=self.environment, cwd=archives)
            archive = max(archives.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime)
            run("dpkg", "-x", archive, f"{folder}.new")
            os.rename(f"{folder}.new", folder)
            archive.unlink()
        return folder
