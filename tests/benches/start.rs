//! One container, from the wish to its program's first byte: ours beside a floor that makes the same things with the same
//! system calls and nothing else, interleaved.
#![allow(clippy::panic, reason = "a benchmark that cannot go on ends right there")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run says where")]
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use host::{Launcher, Start};
use model::setup::{
    Capabilities, CgroupPlan, Create, Depth, DeviceKind, MountAttribute, Namespace, Need, Place,
    ProcessLimit, SetupStep, StartPlan, Tree,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{ForkResult, chdir, execve, fork, pivot_root, sethostname};

const ROUNDS: usize = 60;
const MASKED: [&str; 6] =
    ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const NODES: [(&str, u64, u64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

fn main() {
    host::child::run_if_child();
    if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        println!("SKIPPED: needs root and /bin/busybox");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    for name in ["bin", "proc", "sys", "dev", "old"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/echo")).unwrap();
    let hold = folder.path().join("hold");
    fs::create_dir(&hold).unwrap();
    let launcher = Launcher::start(Path::new("/proc/self/exe"), &hold).unwrap();
    for network in [false, true] {
        let plan = plan(&root, network);
        let (mut ours, mut floors, mut gone, mut floor_gone) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (first, end) = our_start(&launcher, &plan);
            ours.push(first);
            gone.push(end);
            let (first, end) = floor_start(&root, network);
            floors.push(first);
            floor_gone.push(end);
        }
        let (ours, floor) = (median(ours), median(floors));
        let (gone, floor_gone) = (median(gone), median(floor_gone));
        println!(
            "start, own network {network}: ours {ours:?}, floor {floor:?}, ratio {:.2}; to reaped {gone:?}, floor {floor_gone:?}",
            ours.as_secs_f64() / floor.as_secs_f64()
        );
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn our_start(launcher: &Launcher, plan: &StartPlan) -> (Duration, Duration) {
    let (mut read, write) = std::io::pipe().unwrap();
    let begun = Instant::now();
    let start = Start { plan, output: write.as_fd(), errors: write.as_fd(), cgroup: None };
    let pending = launcher.begin_start(&start).unwrap();
    pending.let_go();
    let mut byte = [0];
    read.read_exact(&mut byte).unwrap();
    let first = begun.elapsed();
    pending.wait().unwrap().process.wait_for_end().unwrap();
    (first, begun.elapsed())
}

fn plan(root: &Path, network: bool) -> StartPlan {
    let quiet = BTreeSet::from([MountAttribute::NoSuid, MountAttribute::NoExecution]);
    let new = |kind: &str, target: &str| SetupStep::Mount {
        tree: Tree::New { kind: kind.into(), options: Vec::new() },
        target: target.into(),
        attributes: quiet.clone(),
        create: Create::Folder,
        need: Need::Required,
    };
    let place = Place::of_device(root.display().to_string());
    let mut namespaces = BTreeSet::from([Namespace::Pid, Namespace::Uts, Namespace::Ipc, Namespace::Cgroup]);
    let mut steps = vec![SetupStep::HostName { name: "bench".into() }];
    if network {
        namespaces.insert(Namespace::Network);
    }
    steps
        .push(SetupStep::Root { tree: Tree::Bind { place, depth: Depth::One }, attributes: BTreeSet::new() });
    steps.extend([new("proc", "/proc"), new("sysfs", "/sys"), new("tmpfs", "/dev")]);
    steps.extend(NODES.map(|(name, major, minor)| SetupStep::Node {
        path: format!("/dev/{name}"),
        kind: DeviceKind::Character,
        major: u32::try_from(major).unwrap(),
        minor: u32::try_from(minor).unwrap(),
        mode: 0o666,
    }));
    steps.extend(LINKS.map(|(name, to)| SetupStep::Link { path: format!("/dev/{name}"), to: to.into() }));
    steps.extend([new("devpts", "/dev/pts"), new("tmpfs", "/dev/shm"), new("mqueue", "/dev/mqueue")]);
    steps.extend(MASKED.map(|path| SetupStep::Mask { path: path.into() }));
    steps.extend(READ_ONLY.map(|path| SetupStep::ReadOnly { path: path.into() }));
    steps.push(SetupStep::Capabilities { keep: Capabilities(0xa80c_25fb) });
    steps.push(SetupStep::User { uid: 0, gid: 0 });
    steps.push(SetupStep::WorkFolder { path: "/".into() });
    let arguments = vec!["/bin/echo".into(), "x".into()];
    steps.push(SetupStep::Execute { arguments, environment: Vec::new() });
    let cgroup = CgroupPlan { processes: ProcessLimit::Unlimited, values: Vec::new() };
    StartPlan { namespaces, cgroup, steps }
}

/// The floor as a process: one fork to have a pid namespace to be first in, no plan, no checks, paths without safety.
fn floor_start(root: &Path, network: bool) -> (Duration, Duration) {
    let (mut read, write) = std::io::pipe().unwrap();
    let begun = Instant::now();
    // SAFETY: this process has one thread.
    let ForkResult::Parent { child } = (unsafe { fork() }).unwrap() else {
        floor_child(root, network, &write)
    };
    let mut byte = [0];
    read.read_exact(&mut byte).unwrap();
    let first = begun.elapsed();
    nix::sys::wait::waitpid(child, None).unwrap();
    (first, begun.elapsed())
}

fn floor_child(root: &Path, network: bool, write: &std::io::PipeWriter) -> ! {
    let mut flags = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    if network {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    unshare(flags).unwrap();
    // SAFETY: this process has one thread.
    if let ForkResult::Parent { child } = (unsafe { fork() }).unwrap() {
        nix::sys::wait::waitpid(child, None).unwrap();
        // SAFETY: nothing is to be run at this end.
        unsafe { nix::libc::_exit(0) }
    }
    let none = None::<&str>;
    let fresh = |kind: &str, target: &str| {
        let _ = nix::unistd::mkdir(target, Mode::from_bits_truncate(0o755));
        mount(Some(kind), target, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, none).unwrap();
    };
    sethostname("bench").unwrap();
    nix::unistd::dup2_stdout(write).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some(root), root, none, MsFlags::MS_BIND, none).unwrap();
    chdir(root).unwrap();
    fresh("proc", "proc");
    fresh("sysfs", "sys");
    fresh("tmpfs", "dev");
    pivot_root(".", ".").unwrap();
    umount2(".", MntFlags::MNT_DETACH).unwrap();
    for (name, major, minor) in NODES {
        let path = format!("/dev/{name}");
        mknod(path.as_str(), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor)).unwrap();
    }
    for (name, to) in LINKS {
        std::os::unix::fs::symlink(to, format!("/dev/{name}")).unwrap();
    }
    fresh("devpts", "/dev/pts");
    fresh("tmpfs", "/dev/shm");
    fresh("mqueue", "/dev/mqueue");
    for path in MASKED {
        let Ok(status) = nix::sys::stat::stat(path) else { continue };
        if status.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR {
            mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_RDONLY, none).unwrap();
        } else {
            mount(Some("/dev/null"), path, none, MsFlags::MS_BIND, none).unwrap();
        }
    }
    for path in READ_ONLY {
        if mount(Some(path), path, none, MsFlags::MS_BIND | MsFlags::MS_REC, none).is_ok() {
            let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, path, none, again, none).unwrap();
        }
    }
    for number in 0..=40_u64 {
        if 0xa80c_25fb_u64 >> number & 1 == 0 {
            // SAFETY: PR_CAPBSET_DROP takes a number and reads no memory.
            unsafe { nix::libc::prctl(nix::libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
        }
    }
    let Err(errno) = execve(c"/bin/echo", &[c"echo", c"x"], &[] as &[&std::ffi::CStr]);
    panic!("execute the floor's program: {errno}")
}
