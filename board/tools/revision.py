"""Makes revisions for images and tests: a state, the objects it names, as a folder or as a package."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

from packages import run

CONF = """lxc.uts.name = {name}
lxc.rootfs.path = overlayfs:/volumes/{name}/root.squashfs:/volumes/{name}/lxc-overlay/upper
lxc.init.cmd = {command}
lxc.mount.auto = proc:mixed sys:ro
lxc.cgroup.devices.allow = a
{more}"""


class Revision:
    """A revision being made."""

    def __init__(self, groups):
        self.state = {"#spec": "pantavisor-service-system@1", "device.json": {"groups": groups}}
        self.objects = {}

    def copy(self):
        """Another that begins with the same."""
        other = Revision([])
        other.state = json.loads(json.dumps(self.state))
        other.objects = dict(self.objects)
        return other

    def add_object(self, key, data):
        """A file that the state names by its sha256."""
        digest = hashlib.sha256(data).hexdigest()
        self.objects[digest] = data
        self.state[key] = digest

    def add_bsp(self, **files):
        """`linux`, `initrd`, `fdt`: the bytes of each."""
        names = {"linux": "kernel.img", "initrd": "initramfs.img", "fdt": "device.dtb"}
        self.state["bsp/run.json"] = {kind: names[kind] for kind in sorted(files)}
        for kind, data in files.items():
            self.add_object(f"bsp/{names[kind]}", data)

    def add_container(self, name, image, command, group, goal, more="", **keys):
        """A container of one image."""
        self.state[f"{name}/run.json"] = {
            "#spec": "service-manifest-run@1",
            "name": name,
            "type": "lxc",
            "config": "lxc.container.conf",
            "root-volume": "root.squashfs",
            "storage": {"lxc-overlay": {"persistence": "boot"}},
            "group": group,
            "status_goal": goal,
            "restart_policy": "container",
            "roles": ["nobody"],
            **keys,
        }
        self.add_object(f"{name}/lxc.container.conf", CONF.format(name=name, command=command, more=more).encode())
        self.add_object(f"{name}/root.squashfs", image)

    def remove_container(self, name):
        """Its objects go where nothing else names them."""
        self.state = {key: value for key, value in self.state.items() if not key.startswith(f"{name}/")}

    def _used(self):
        named = {value for value in self.state.values() if isinstance(value, str)}
        return {digest: data for digest, data in self.objects.items() if digest in named}

    def write_folder(self, folder):
        """As `goalpost factory` takes it."""
        folder = Path(folder)
        (folder / "objects").mkdir(parents=True)
        (folder / "json").write_text(json.dumps(self.state, sort_keys=True))
        for digest, data in self._used().items():
            (folder / "objects" / digest).write_bytes(data)

    def write_package(self, path, without=frozenset()):
        """As `goalctl post` takes it. Objects that the device has already can be left out."""
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as package:
            members = {"json": json.dumps(self.state, sort_keys=True).encode()}
            members.update({f"objects/{digest}": data for digest, data in self._used().items() if digest not in without})
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                package.addfile(member, io.BytesIO(data))


def squashfs(folder, files):
    """An image of `files`, path to (mode, source or bytes); always the same bytes."""
    folder = Path(folder)
    folder.mkdir()
    for name in ("bin", "dev", "etc", "pantavisor", "proc", "run", "sys", "tmp"):
        (folder / name).mkdir()
    for path, (mode, data) in files.items():
        to = folder / path
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(data)
        to.chmod(mode)
    image = f"{folder}.squashfs"
    run("mksquashfs", folder, image, "-noappend", "-all-root", "-all-time", "0", "-mkfs-time", "0", "-comp", "lz4", "-Xhc", "-no-xattrs", "-quiet", "-no-progress")
    return Path(image).read_bytes()
