//! What the kernel leaves unmounted, mounted; in the end what must be whole on disk, put away.

use core::ffi::CStr;

use crate::sys::{self, FirstOf, Options};

/// Kind, place, options of its own.
const ALL: [(&CStr, &CStr, Options); 7] = [
    (c"proc", c"/proc", Options::Plain(c"")),
    (c"sysfs", c"/sys", Options::Plain(c"")),
    (c"devtmpfs", c"/dev", Options::Devices(c"mode=755")),
    (c"devpts", c"/dev/pts", Options::Devices(c"mode=620,gid=5,ptmxmode=666")),
    (c"tmpfs", c"/dev/shm", Options::Plain(c"mode=1777")),
    (c"tmpfs", c"/run", Options::Plain(c"mode=755")),
    (c"cgroup2", c"/sys/fs/cgroup", Options::Plain(c"")),
];
/// Where the agent mounts the data partition.
const STORAGE: &CStr = c"/storage";

/// Mounts them. One that is there already, or that this kernel lacks, is the agent's to report: it says what it misses.
pub(crate) fn make(of: FirstOf) {
    if of == FirstOf::Machine {
        sys::leave_rootfs();
    }
    for (kind, place, options) in ALL {
        sys::make_folder(place);
        sys::mount(kind, place, options);
    }
}

/// The disks have everything, and nothing is written any more.
pub(crate) fn put_away(of: FirstOf) {
    sys::sync();
    if !sys::unmount(STORAGE) {
        sys::make_read_only(STORAGE);
    }
    // The file system itself becomes so, for all who see it: in a namespace that is not ours to decide.
    if of == FirstOf::Machine {
        sys::make_read_only(c"/");
    }
    sys::sync();
}
