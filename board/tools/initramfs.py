"""Makes the first root of a device: goalpost as init, the kernel modules it needs, nothing else."""

import gzip
import lzma
import os
from pathlib import Path

from packages import run


def _record(number, name, mode, data=b"", device=(0, 0)):
    """One file of a newc archive; everything belongs to root and is of no date."""
    name = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def archive(files):
    """A newc archive. `files` maps a path to (mode, bytes) and needs no folders."""
    folders = sorted({str(parent) for path in files for parent in Path(path).parents if str(parent) != "."})
    wanted = ["dev", "proc", "sys", "run", "tmp", "storage", "etc", *folders]
    parts = [_record(number, name, 0o40755) for number, name in enumerate(dict.fromkeys(wanted), 1)]
    # The kernel's own messages go to a console from the first line on.
    parts.append(_record(900, "dev/console", 0o20600, device=(5, 1)))
    for number, (path, (mode, data)) in enumerate(sorted(files.items()), 1000):
        parts.append(_record(number, path, 0o100000 | mode, data))
    parts.append(_record(0, "TRAILER!!!", 0))
    return b"".join(parts)


def _plain(path):
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def modules(kernel, wanted):
    """The modules named, with what they depend on: path to (mode, bytes)."""
    tree = next(path for path in [kernel / "lib/modules", kernel / "usr/lib/modules"] if path.exists())
    version = next(path.name for path in tree.iterdir())
    base = tree / version
    if not (base / "modules.dep").exists() or not (base / "modules.dep").stat().st_size:
        run("depmod", "-b", kernel if tree.parent.name == "lib" and tree.parent.parent == kernel else kernel / "usr", version)

    def name_of(path):
        return Path(path).name.split(".ko")[0].replace("-", "_")

    depends, paths = {}, {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        paths[name_of(path)] = path
        depends[name_of(path)] = [name_of(other) for other in rest.split()]
    built_in = {name_of(line) for line in (base / "modules.builtin").read_text().splitlines()}
    order = []

    def add(name):
        if name in order or name in built_in:
            return
        if name not in paths:
            raise SystemExit(f"kernel {version} has no module {name}")
        for other in reversed(depends[name]):
            add(other)
        if name not in order:
            order.append(name)

    for name in wanted:
        add(name.replace("-", "_"))
    files = {}
    for name in order:
        path = paths[name].removesuffix(".xz")
        files[f"lib/modules/{version}/{path}"] = (0o644, _plain(base / paths[name]))
    dependencies = "".join(
        f"{paths[name].removesuffix('.xz')}:{''.join(' ' + paths[other].removesuffix('.xz') for other in depends[name] if other in order)}\n"
        for name in order
    )
    known = [line for line in (base / "modules.builtin").read_text().splitlines() if name_of(line) in {name.replace("-", "_") for name in wanted}]
    files[f"lib/modules/{version}/modules.builtin"] = (0o644, "".join(f"{line}\n" for line in known).encode())
    files[f"lib/modules/{version}/modules.dep"] = (0o644, dependencies.encode())
    return files


def programs(folder, check):
    """Our programs, and the checker of the data partition's file system."""
    files = {"bin/goalpost": (0o755, (folder / "goalpost").read_bytes()), "bin/goalctl": (0o755, (folder / "goalctl").read_bytes())}
    init = folder / "goalpost-init"
    files["init"] = (0o755, init.read_bytes()) if init.exists() else files["bin/goalpost"]
    files["sbin/e2fsck"] = (0o755, check.read_bytes())
    return files


def compressed(data):
    """As the kernel unpacks it."""
    return gzip.compress(data, 9, mtime=0)


def write(path, files):
    """Writes the initramfs; returns its bytes compressed."""
    data = compressed(archive(files))
    temporary = f"{path}.new"
    Path(temporary).write_bytes(data)
    os.rename(temporary, path)
    return len(data)
