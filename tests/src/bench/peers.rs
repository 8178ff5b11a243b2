//! The neighbours we are measured against, each started the way its own users start it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags};
use nix::sched::{self, CloneFlags};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

/// CLOCK_MONOTONIC in microseconds: the clock of the probe and of the agent's event stream.
pub fn now_micros() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    let (seconds, nanoseconds) = (now.tv_sec(), now.tv_nsec());
    u64::try_from(seconds * 1_000_000 + nanoseconds / 1_000).expect("monotonic time is not negative")
}

/// Compiles a C program of `peers/`, statically where `libraries` is empty.
pub fn compile(folder: &Path, source: &str, libraries: &[&str]) -> Option<PathBuf> {
    let before: &[&str] = if libraries.is_empty() { &["-static"] } else { &[] };
    compile_with(folder, source, before, libraries)
}

/// The program of the containers, which brings its own first instruction: no C library comes before it.
pub fn probe(folder: &Path) -> PathBuf {
    let alone = ["-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"];
    compile_with(folder, "probe.c", &alone, &[]).expect("a C compiler, as for the product itself")
}

fn compile_with(folder: &Path, source: &str, before: &[&str], after: &[&str]) -> Option<PathBuf> {
    let program = folder.join(source.trim_end_matches(".c"));
    let compiled = Command::new("cc")
        .args(["-Os", "-w"])
        .args(before)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers").join(source))
        .args(after)
        .arg("-o")
        .arg(&program)
        .stderr(Stdio::null())
        .status();
    compiled.is_ok_and(|status| status.success()).then_some(program)
}

/// A root folder with the probe in it.
pub fn root_folder(folder: &Path, probe: &Path) -> PathBuf {
    let root = folder.join("rootfs");
    for name in ["dev", "proc", "sys", "tmp", "run", "pantavisor"] {
        fs::create_dir_all(root.join(name)).expect("a temporary folder can be written");
    }
    fs::copy(probe, root.join("probe")).expect("the probe was just compiled");
    root
}

/// A mount namespace like ours but without the unified control groups: crun refuses a host that mounts them beside version 1.
/// The agent and the floor stay where they can use them.
#[derive(Debug)]
pub struct Aside(fs::File);

impl Aside {
    /// Makes it, as root.
    pub fn new() -> Aside {
        let made = std::thread::spawn(|| {
            sched::unshare(CloneFlags::CLONE_NEWNS).expect("benchmarks run as root");
            let none = None::<&str>;
            nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
                .expect("our own mount namespace can be made private");
            // Not there on a host with version 2 alone, where nothing needs hiding.
            let _ = nix::mount::umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH);
            fs::File::open("/proc/thread-self/ns/mnt").expect("a thread has a mount namespace")
        });
        Aside(made.join().expect("the thread does not panic"))
    }

    /// Runs something in it, on a thread of its own; what it starts is started there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| {
                // A thread that shares its working folder with others may not change its mount namespace.
                sched::unshare(CloneFlags::CLONE_FS).expect("a thread can have its own working folder");
                sched::setns(&self.0, CloneFlags::CLONE_NEWNS).expect("benchmarks run as root");
                work()
            });
            ran.join().expect("the thread does not panic")
        })
    }
}

impl Default for Aside {
    fn default() -> Aside {
        Aside::new()
    }
}

/// Where control groups of version 2 are mounted.
pub fn unified_cgroups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut fields| {
        let place = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(place))
    })
}

/// An OCI bundle for crun or runc, with a cgroup namespace and without a mount of the cgroup file system, which costs
/// either of them 8 to 21 ms and would be unfair.
pub fn oci_bundle(folder: &Path, root: &Path) -> PathBuf {
    let bundle = folder.join("bundle");
    fs::create_dir_all(&bundle).expect("a temporary folder can be written");
    // Neither writes over one that is there.
    let _ = fs::remove_file(bundle.join("config.json"));
    let spec = Command::new("runc").arg("spec").arg("-b").arg(&bundle).status();
    if !spec.is_ok_and(|status| status.success()) {
        let made = Command::new("crun").arg("spec").current_dir(&bundle).status();
        assert!(made.is_ok_and(|status| status.success()), "neither runc nor crun makes a config.json");
    }
    let path = bundle.join("config.json");
    let text = fs::read(&path).expect("the specification was just written");
    let mut config: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
    config["process"]["args"] = json!(["/probe", "stay"]);
    config["process"]["terminal"] = json!(false);
    config["root"] = json!({"path": root, "readonly": true});
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    config["linux"]["namespaces"] = namespaces.iter().map(|name| json!({"type": name})).collect();
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "cgroup");
    }
    fs::write(&path, config.to_string()).expect("a temporary folder can be written");
    bundle
}

/// A container of `lxc-start`; the folder it lives in is returned.
pub fn lxc_container(folder: &Path, root: &Path) -> PathBuf {
    let home = folder.join("lxc");
    fs::create_dir_all(home.join("bench")).expect("a temporary folder can be written");
    let config = format!(
        "lxc.rootfs.path = dir:{}\nlxc.uts.name = bench\nlxc.init.cmd = /probe stay\nlxc.net.0.type = empty\n\
         lxc.mount.auto = proc:mixed sys:mixed\nlxc.autodev = 1\nlxc.console.path = none\nlxc.tty.max = 0\n",
        root.display()
    );
    fs::write(home.join("bench/config"), config).expect("a temporary folder can be written");
    home
}

/// Starts `command`, returns when the probe's line came: how long from the call to the probe's first instruction.
pub fn to_first_instruction(command: &mut Command) -> (Duration, Child) {
    let before = now_micros();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the peer was found before");
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("a pipe can be read");
    let stamp: u64 = line.trim().parse().expect("the probe writes its time; does the peer run at all?");
    (Duration::from_micros(stamp - before), child)
}

pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).exists()))
}
