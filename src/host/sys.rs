//! The system calls that no crate wraps.

use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

/// The kernel's `struct clone_args`, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whose child a new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ParentOf {
    /// Our own; its end is nobody's business.
    Us,
    /// Our parent's, which gets the pidfd.
    OurParent,
}

/// Which side of a clone this is.
#[derive(Debug)]
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The old one.
    Parent { pid: u32, process: OwnedFd },
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process like this one. The caller has one thread only.
pub(crate) fn clone_process(
    namespaces: CloneFlags,
    parent: ParentOf,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Cloned, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = CloneArguments {
        flags: namespaces.bits().cast_unsigned().into(),
        pidfd: (&raw mut pidfd).addr() as u64,
        ..CloneArguments::default()
    };
    arguments.flags |= u64::from(libc::CLONE_PIDFD.cast_unsigned());
    match parent {
        ParentOf::Us => arguments.exit_signal = libc::SIGCHLD.cast_unsigned().into(),
        ParentOf::OurParent => arguments.flags |= u64::from(libc::CLONE_PARENT.cast_unsigned()),
    }
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: `arguments` is a valid clone_args of the size given, and `pidfd` outlives the call. Without CLONE_VM the child has
    // its own copy of this single thread's memory and stack, so every lock it sees is as this thread left it.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    match Errno::result(pid)? {
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just stored a new descriptor there, which nobody else knows of.
            let process = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: u32::try_from(pid).map_err(|_| Errno::EOVERFLOW)?, process })
        }
    }
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Whether attributes are set or cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Set,
    Clear,
}

/// Sets attributes (`MOUNT_ATTR_…`) of the mount that `tree` is, or of all mounts below it too.
pub(crate) fn set_mount_attributes(tree: BorrowedFd<'_>, set: u64, recursive: bool) -> Result<(), Errno> {
    change_mount_attributes(tree, set, Change::Set, recursive)
}

/// Sets or clears them.
pub(crate) fn change_mount_attributes(
    tree: BorrowedFd<'_>,
    attributes: u64,
    change: Change,
    recursive: bool,
) -> Result<(), Errno> {
    let (set, clear) = match change {
        Change::Set => (attributes, 0),
        Change::Clear => (0, attributes),
    };
    let attributes = MountAttr { set, clear, propagation: 0, user_namespace: 0 };
    let depth = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, `attributes` is a valid mount_attr of the size given, and the kernel only reads it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    };
    Errno::result(done).map(drop)
}

/// Gives signals their default meaning back and unblocks all: what is ignored stays ignored across exec, and the Rust runtime
/// ignores SIGPIPE.
pub(crate) fn reset_signals() -> Result<(), Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Lets the kernel reap our own children by itself.
pub(crate) fn ignore_children() -> Result<(), Errno> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &ignore) }.map(drop)
}

/// Gives SIGCHLD its default meaning back, after [`ignore_children`].
pub(crate) fn heed_children() -> Result<(), Errno> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &default) }.map(drop)
}

/// Leaves namespaces of this single-threaded process.
pub(crate) fn unshare(namespaces: CloneFlags) -> Result<(), Errno> {
    nix::sched::unshare(namespaces)
}

/// Ends this process at once, without running what was registered for its end.
pub(crate) fn end(code: i32) -> ! {
    // SAFETY: _exit has no demands.
    unsafe { libc::_exit(code) }
}

/// Takes over a descriptor that was inherited under a number.
pub(crate) fn inherited(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: fcntl on a number has no demands; it tells whether that descriptor is open.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and the one that executed us gave it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Marks every descriptor from `first` on to be closed by exec.
pub(crate) fn close_on_exec(first: u32) -> Result<(), Errno> {
    // SAFETY: only flags of this process's own descriptors change.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(done).map(drop)
}

/// Sets a resource limit by its number.
pub(crate) fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel only reads `limit`; no old value is asked for.
    let done = unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null::<libc::rlimit64>())
    };
    Errno::result(done).map(drop)
}

/// Sets the loopback device of this network namespace up.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    // SAFETY: ifreq is plain bytes, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        // Signed on some machines, unsigned on others.
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(|_| Errno::EINVAL)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq with a terminated name; `request` is one.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })
        .map(drop)
}

/// Starts the device over, with a word for its boot loader.
pub(crate) fn reboot_with(argument: &CStr) -> Result<Infallible, Errno> {
    // SAFETY: LINUX_REBOOT_CMD_RESTART2 reads a terminated text, which `argument` is, before it does anything.
    let done = unsafe {
        libc::syscall(
            libc::SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_RESTART2,
            argument.as_ptr(),
        )
    };
    Err(Errno::result(done).err().unwrap_or(Errno::UnknownErrno))
}

/// Sends a signal to a process that is held by descriptor.
pub(crate) fn signal_process(process: BorrowedFd<'_>, signal: u8) -> Result<(), Errno> {
    // SAFETY: no further information goes with the signal, so the kernel reads no memory of ours.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            libc::c_int::from(signal),
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(done).map(drop)
}

/// Installs a system call filter; there is no way back.
pub(crate) fn filter_system_calls(instructions: &[libc::sock_filter]) -> Result<(), Errno> {
    let filter = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| Errno::E2BIG)?,
        filter: instructions.as_ptr().cast_mut(),
    };
    // SAFETY: `filter` names as many instructions as it says, and they outlive the call; the kernel only reads them.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    Errno::result(done).map(drop)
}

/// Sets this thread's capability sets to `keep` within what it has; nothing is inherited.
pub(crate) fn set_capabilities(keep: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // _LINUX_CAPABILITY_VERSION_3: two halves of 32 capabilities each.
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: the header is of the version that goes with two halves, which the kernel fills.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    for (half, kept) in halves.iter_mut().zip([keep & 0xffff_ffff, keep >> 32]) {
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        *half = Half { effective: half.permitted & kept, permitted: half.permitted & kept, inheritable: 0 };
    }
    // SAFETY: as above, and the kernel only reads them.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) }).map(drop)
}

/// Takes a capability away from every program that this thread executes from now on.
pub(crate) fn drop_from_bounding_set(capability: u8) -> Result<(), Errno> {
    // SAFETY: PR_CAPBSET_DROP takes a number and reads no memory.
    Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) })
        .map(drop)
}

/// The number of a loop device that nobody uses now.
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> Result<u32, Errno> {
    const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) })?;
    u32::try_from(number).map_err(|_| Errno::EOVERFLOW)
}

/// The kernel's `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo {
    /// LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR.
    const READ_ONLY_WHILE_USED: u32 = 1 | 4;
}

/// The kernel's `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// Attaches a file to a loop device: read-only, gone with its last user.
pub(crate) fn configure_loop_device(device: BorrowedFd<'_>, image: i32) -> Result<(), Errno> {
    const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
    // SAFETY: loop_config is plain numbers, for which all zeros is a value.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = image.cast_unsigned();
    config.info.flags = LoopInfo::READ_ONLY_WHILE_USED;
    // SAFETY: LOOP_CONFIGURE reads one loop_config, which `config` is.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw const config) })
        .map(drop)
}

/// Whether a loop device holds the whole of this file, as `configure_loop_device` attaches one.
pub(crate) fn loop_device_holds(device: BorrowedFd<'_>, of: u64, inode: u64) -> Result<bool, Errno> {
    const LOOP_GET_STATUS64: libc::c_ulong = 0x4c05;
    // SAFETY: loop_info64 is plain numbers, for which all zeros is a value.
    let mut info: LoopInfo = unsafe { std::mem::zeroed() };
    // SAFETY: LOOP_GET_STATUS64 writes one loop_info64, which `info` is.
    Errno::result(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64 as _, &raw mut info) })?;
    let as_ours = info.flags & LoopInfo::READ_ONLY_WHILE_USED == LoopInfo::READ_ONLY_WHILE_USED;
    Ok(as_ours && (info.device, info.inode, info.offset, info.size_limit) == (of, inode, 0, 0))
}

/// Loads a device program and attaches it to a control group, in which it stays until the group goes.
pub(crate) fn attach_device_program(group: BorrowedFd<'_>, program: &[u64]) -> Result<(), Errno> {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_ATTACH: libc::c_int = 8;
    const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const CGROUP_DEVICE: u32 = 6;
    /// The head of the kernel's `union bpf_attr`, for BPF_PROG_LOAD.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        licence: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
    }
    /// The head of the kernel's `union bpf_attr`, for BPF_PROG_ATTACH.
    #[repr(C)]
    struct Attach {
        target: u32,
        program: u32,
        kind: u32,
        flags: u32,
    }
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr().addr() as u64,
        licence: c"GPL".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: `load` is the head of a bpf_attr of the size given; instructions and licence outlive the call, which reads them.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    let number = i32::try_from(Errno::result(loaded)?).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let program = unsafe { OwnedFd::from_raw_fd(number) };
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        kind: CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: `attach` is the head of a bpf_attr of the size given, and both descriptors are open.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>())
    })
    .map(drop)
}

/// Sets this thread's scheduling policy, with the priority that goes with it. What it makes from now on has the usual one.
pub(crate) fn schedule(policy: libc::c_int, priority: libc::c_int) -> Result<(), Errno> {
    const RESET_ON_FORK: libc::c_int = 0x4000_0000;
    // By number: musl's function only says that it is not there.
    // SAFETY: sched_setscheduler reads the kernel's `struct sched_param`, which is one int.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, policy | RESET_ON_FORK, &raw const priority)
    })
    .map(drop)
}

/// Grows a mounted ext4 to so many of its blocks.
pub(crate) fn resize_ext4(mounted: BorrowedFd<'_>, blocks: u64) -> Result<(), Errno> {
    const RESIZE_FS: libc::c_ulong = 0x4008_6610;
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    Errno::result(unsafe { libc::ioctl(mounted.as_raw_fd(), RESIZE_FS as _, &raw const blocks) }).map(drop)
}

/// Sets how many seconds a watchdog waits; what it made of that, or what it has if it cannot be set.
pub(crate) fn set_watchdog(watchdog: BorrowedFd<'_>, seconds: i32) -> Result<u32, Errno> {
    const SET_TIMEOUT: libc::c_ulong = 0xc004_5706;
    const GET_TIMEOUT: libc::c_ulong = 0x8004_5707;
    let mut value = seconds;
    // SAFETY: both take a pointer to one int, which they read or write.
    let outcome = unsafe {
        match Errno::result(libc::ioctl(watchdog.as_raw_fd(), SET_TIMEOUT as _, &raw mut value)) {
            Ok(_) => Ok(0),
            Err(_) => Errno::result(libc::ioctl(watchdog.as_raw_fd(), GET_TIMEOUT as _, &raw mut value)),
        }
    };
    outcome.and_then(|_| u32::try_from(value).map_err(|_| Errno::ERANGE))
}

/// What a watchdog's driver knows of why the device started: bits of the kernel's `watchdog.h`.
pub(crate) fn watchdog_boot_status(watchdog: BorrowedFd<'_>) -> Result<i32, Errno> {
    const GET_BOOT_STATUS: libc::c_ulong = 0x8004_5702;
    let mut value = 0;
    // SAFETY: it takes a pointer to one int, which it writes.
    let outcome = unsafe { libc::ioctl(watchdog.as_raw_fd(), GET_BOOT_STATUS as _, &raw mut value) };
    Errno::result(outcome).map(|_| value)
}

/// The kernel's `struct blkpg_partition`.
#[repr(C)]
struct PartitionChange {
    start: i64,
    length: i64,
    number: libc::c_int,
    names: [u8; 128],
}

/// The kernel's `struct blkpg_ioctl_arg`.
#[repr(C)]
struct PartitionRequest {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    change: *mut PartitionChange,
}

/// Tells the kernel that a partition of a disk has another length, in bytes.
pub(crate) fn resize_partition(
    disk: BorrowedFd<'_>,
    number: u8,
    start: u64,
    length: u64,
) -> Result<(), Errno> {
    const BLKPG: libc::c_ulong = 0x1269;
    const RESIZE: libc::c_int = 3;
    let bytes = |bytes: u64| i64::try_from(bytes).map_err(|_| Errno::EOVERFLOW);
    let (start, length) = (bytes(start)?, bytes(length)?);
    let mut change = PartitionChange { start, length, number: number.into(), names: [0; 128] };
    let request = PartitionRequest {
        operation: RESIZE,
        flags: 0,
        length: libc::c_int::try_from(size_of::<PartitionChange>()).map_err(|_| Errno::EOVERFLOW)?,
        change: &raw mut change,
    };
    // SAFETY: BLKPG reads a blkpg_ioctl_arg, whose pointer leads to a blkpg_partition of the size given; both outlive the call.
    Errno::result(unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG as _, &raw const request) }).map(drop)
}

/// Has the kernel begin to write a part of a file to the disk, and does not wait for it. Nothing is promised.
pub(crate) fn begin_write_out(file: BorrowedFd<'_>, from: u64, length: u64) {
    let (from, length) = (from.cast_signed(), length.cast_signed());
    // SAFETY: the descriptor is open for as long as it is borrowed; no memory is handed over.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE) };
}
