//! Debian's `lxc-start` as the oracle: one lxc.container.conf, started by it, started by the agent, then both looked at from
//! outside. What differs is listed here with its reason; anything else that differs fails, and so does a listed difference
//! that is none.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]

mod facts;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;
use tests::live::{Device, Programs, State};

use facts::Facts;

/// A conf beside the part of it that every case has.
struct Case<'a> {
    name: &'static str,
    conf: &'static str,
    intended: &'a [&'a [Intended]],
}

/// A fact that is not as LXC has it; a `*` at its end stands for anything.
struct Intended {
    fact: &'static str,
    reason: &'static str,
}

const fn intended(fact: &'static str, reason: &'static str) -> Intended {
    Intended { fact, reason }
}

/// Whatever the conf says.
const ALWAYS: &[Intended] = &[
    intended("environment HOME", "a shell and most libraries expect it; one that the conf gives wins"),
    intended("environment TERM", "likewise"),
    intended("mount /pantavisor", "the container's sockets, logs and metadata"),
    intended("mount /pantavisor/bin/goalctl", "how a container says that it is ready"),
    intended("propagation", "what a container mounts never goes back to the device"),
];

/// Where `/sys` is not mixed.
const SYS_PLAIN: &[Intended] = &[intended(
    "mount /sys",
    "nothing in it is a program or a device: nosuid, nodev, noexec, as LXC itself has it when mixed",
)];

/// Where the conf gives no PATH.
const OWN_PATH: &[Intended] =
    &[intended("environment PATH", "without one each shell makes up its own; one that the conf gives wins")];

/// Where `/sys` is mixed or read-only.
const SYS_GUARDED: &[Intended] = &[intended(
    "hidden /sys/*",
    "as other container runtimes have it: the firmware's tables are the device's",
)];

/// Where `/proc` is mixed.
const PROC_GUARDED: &[Intended] = &[
    intended(
        "hidden /proc/*",
        "keys of others, the device's interrupts, as other runtimes have it; which there are is the kernel's",
    ),
    intended(
        "hidden /proc/sys/kernel/random/boot_id",
        "the boot is the device's; a container's life has its generation",
    ),
    intended("device .lxc-boot-id", "likewise: LXC keeps its made-up boot id there"),
    intended("mount /proc/bus", "read-only, as other container runtimes have it"),
    intended("mount /proc/fs", "likewise"),
    intended("mount /proc/irq", "likewise"),
];

/// Where `/dev` is made.
const DEV_MADE: &[Intended] = &[
    intended("device log", "where programs of the container log; LXC leaves that to its image"),
    intended("mount /dev", "nosuid and noexec: programs do not lie there; sized in round numbers"),
    intended("device shm", "shm_open needs it, in images that bring no init to mount it"),
    intended("mount /dev/shm", "likewise"),
    intended("device mqueue", "mq_open needs it"),
    intended("mount /dev/mqueue", "likewise"),
    intended(
        "device ptmx",
        "a link to that of its own terminals, as devpts' documentation asks, not a mount over a node",
    ),
];

#[test]
fn a_conf_as_authoring_tools_write_it() {
    compare(&Case {
        name: "field",
        conf: "\
lxc.tty.max = 8
lxc.pty.max = 1024
lxc.cgroup.devices.allow = a
lxc.init.cwd = /srv
lxc.environment = PATH=/bin:/sbin
lxc.environment = GREETING=hello to all
lxc.namespace.keep = user net ipc
lxc.mount.auto = proc sys:rw cgroup
lxc.mount.entry = /etc/resolv.conf etc/resolv.conf none bind,rw,create=file 0 0
lxc.mount.entry = tmpfs run tmpfs rw,nodev,relatime,mode=755 0 0
",
        intended: &[
            ALWAYS,
            PROC_GUARDED,
            SYS_PLAIN,
            DEV_MADE,
            &[
                intended("mount /dev/ptmx", "the link needs no mount"),
                intended(
                    "mount /dev/pts",
                    "lxc.pty.max is what the container may have; LXC adds those of lxc.tty.max",
                ),
                intended(
                    "device tty*",
                    "terminals of lxc.tty.max are for lxc-console, which is not here: nobody could attach",
                ),
                intended("mount /dev/tty*", "likewise"),
                intended(
                    "host name",
                    "without lxc.uts.name it is the container's name; LXC leaves the device's",
                ),
                intended(
                    "namespace time",
                    "no key sets its clocks; LXC makes one because lxc.namespace.keep does not name it",
                ),
            ],
        ],
    });
}

#[test]
fn a_conf_that_locks_down() {
    compare(&Case {
        name: "locked",
        conf: "\
lxc.uts.name = shut
lxc.net.0.type = empty
lxc.mount.auto = proc:mixed sys:mixed
lxc.cap.drop = sys_module sys_time mac_admin mac_override
lxc.cap.drop = sys_rawio
lxc.no_new_privs = 1
lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp
lxc.init.uid = 1000
lxc.init.gid = 1001
lxc.prlimit.nofile = 64:128
lxc.mount.entry = /etc etc/host none bind,ro,nosuid,nodev,noexec,create=dir 0 0
",
        intended: &[
            ALWAYS,
            OWN_PATH,
            PROC_GUARDED,
            SYS_GUARDED,
            DEV_MADE,
            &[
                intended("device pts", "its own terminals lie there, also without lxc.pty.max"),
                intended("mount /dev/pts", "likewise"),
            ],
        ],
    });
}

#[test]
fn a_conf_that_keeps_little_and_makes_no_dev() {
    compare(&Case {
        name: "little",
        conf: "\
lxc.uts.name = little
lxc.autodev = 0
lxc.namespace.clone = mnt pid uts ipc cgroup net
lxc.mount.auto = proc:rw sys:ro
lxc.cap.keep = chown net_bind_service setuid setgid
lxc.mount.entry = tmpfs tmp tmpfs nosuid,noexec,size=64k 0 0
lxc.mount.entry = /none-such none-such none bind,optional,create=dir 0 0
lxc.mount.entry = mqueue dev/mqueue mqueue rw,create=dir 0 0
",
        intended: &[ALWAYS, OWN_PATH, SYS_PLAIN, SYS_GUARDED],
    });
}

fn compare(case: &Case<'_>) {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test starts containers on the real kernel: run it as root"
    );
    let folder = tempfile::Builder::new().prefix("goalpost-oracle-").tempdir().unwrap();
    let conf = |root: &Path| {
        format!(
            "lxc.rootfs.path = dir:{}\nlxc.init.cmd = /bin/init\nlxc.console.path = none\n{}",
            root.display(),
            case.conf
        )
    };
    // One root for both, one after the other: what the first makes in it is no difference, since both make it.
    let root = root(folder.path());
    let conf = conf(&root);
    let theirs = by_lxc(case.name, folder.path(), &conf);
    let ours = by_the_agent(case.name, &conf);
    let differing: BTreeSet<&str> = theirs
        .keys()
        .chain(ours.keys())
        .filter(|fact| theirs.get(*fact) != ours.get(*fact))
        .map(String::as_str)
        .collect();
    let none = "nothing".to_owned();
    let told = |fact: &str| {
        let (theirs, ours) = (theirs.get(fact).unwrap_or(&none), ours.get(fact).unwrap_or(&none));
        format!("  {fact}\n    lxc-start: {theirs}\n    agent:     {ours}\n")
    };
    let listed = || case.intended.iter().copied().flatten();
    let unlisted: String = differing
        .iter()
        .filter(|fact| !listed().any(|intended| intended.covers(fact)))
        .map(|fact| told(fact))
        .collect();
    let missing: String = listed()
        .filter(|intended| !differing.iter().any(|fact| intended.covers(fact)))
        .map(|intended| format!("  {} ({})\n", intended.fact, intended.reason))
        .collect();
    assert!(
        unlisted.is_empty() && missing.is_empty(),
        "{}: differences that are not listed:\n{unlisted}listed, and no difference:\n{missing}",
        case.name
    );
    assert!(theirs.len() > 30, "only {} facts were compared", theirs.len());
}

impl Intended {
    fn covers(&self, fact: &str) -> bool {
        self.fact.strip_suffix('*').map_or(self.fact == fact, |beginning| fact.starts_with(beginning))
    }
}

/// A root folder with a static shell.
fn root(folder: &Path) -> PathBuf {
    let root = folder.join("root");
    for name in ["bin", "dev", "etc", "pantavisor", "proc", "run", "srv", "sys", "tmp"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .expect("/bin/busybox is there (Debian: busybox-static)");
    // Debian's LXC splits a command at blanks alone, and takes quotes for letters: a script needs none.
    fs::write(root.join("bin/init"), "#!/bin/sh\necho started\nsleep 1000\n").unwrap();
    fs::set_permissions(root.join("bin/init"), fs::Permissions::from_mode(0o755)).unwrap();
    for applet in ["sh", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    root
}

/// A container of `lxc-start`, ended when the test is done with it, however it is.
struct Lxc {
    name: &'static str,
    home: PathBuf,
    starter: Child,
}

impl Lxc {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-P").arg(&self.home).args(["-n", self.name]);
        command
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        let _ = self.command("lxc-stop").arg("-k").stderr(Stdio::null()).status();
        let _ = self.starter.kill();
        let _ = self.starter.wait();
    }
}

/// It refuses some hosts that mount both cgroup versions: in a mount namespace of its own it sees the first alone.
const WITHOUT_UNIFIED: &str =
    "mount --make-rprivate / && { umount -l /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"; }";

fn by_lxc(name: &'static str, folder: &Path, conf: &str) -> Facts {
    let home = folder.join("lxc");
    fs::create_dir_all(home.join(name)).unwrap();
    fs::write(home.join(name).join("config"), conf).unwrap();
    let log = folder.join("lxc.log");
    // It hands on what its own parent ignores, such as a shell's background job; the agent does not.
    let starter = Command::new("env")
        .args([
            "--default-signal",
            "unshare",
            "-m",
            "sh",
            "-c",
            WITHOUT_UNIFIED,
            "sh",
            "lxc-start",
            "-F",
            "-n",
            name,
            "-l",
            "INFO",
            "-P",
        ])
        .arg(&home)
        .arg("-o")
        .arg(&log)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("env is installed");
    let mut lxc = Lxc { name, home, starter };
    let (say, started) = mpsc::channel();
    let output = lxc.starter.stdout.take().unwrap();
    std::thread::spawn(move || {
        let line = BufReader::new(output).lines().map_while(Result::ok).find(|line| line == "started");
        let _ = say.send(line);
    });
    // A starter that ends closes its output; one that hangs is given up.
    let started = started.recv_timeout(Duration::from_secs(60)).ok().flatten();
    let said =
        || fs::read_to_string(&log).unwrap_or_else(|_| "lxc-start said nothing (Debian: lxc)".to_owned());
    assert!(started.is_some(), "lxc-start did not start the container:\n{}", said());
    let found = lxc.command("lxc-info").arg("-pH").output().unwrap();
    let pid = String::from_utf8(found.stdout).unwrap().trim().parse().unwrap();
    facts::of(name, pid)
}

fn by_the_agent(name: &str, conf: &str) -> Facts {
    let groups = json!({"groups": [{"name": "app", "status_goal": "STARTED", "restart_policy": "container", "timeout": 60}]});
    let state = State::new().inline("device.json", groups);
    // Its root is the folder; the image is only named.
    let state = state.container_with_conf(name, &image(), conf, &json!({}));
    let device = Device::new(&state).with("GOALPOST_STOP_GRACE", "1s");
    let programs = Programs::find("debug");
    let agent = device.start(&programs);
    agent.events(0).until_goal_met(name);
    // STARTED is its exec; a shell sets its signals up after that, and before its first line.
    let mut follower = Command::new(&programs.goalctl)
        .arg("--socket")
        .arg(agent.socket())
        .args(["logs", "-f", name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("started")), "{}", device.agent_log());
    follower.kill().unwrap();
    follower.wait().unwrap();
    let status = agent.client().get("/status").json();
    let pid =
        status["containers"][0]["pid"].as_u64().unwrap_or_else(|| panic!("{status}\n{}", device.agent_log()));
    let facts = facts::of(name, u32::try_from(pid).unwrap());
    assert!(agent.stop().success());
    facts
}

/// An image with one folder in it.
fn image() -> Vec<u8> {
    use backhand::compression::Compressor;
    use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
    let mut image = FilesystemWriter::default();
    image.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
    image.set_time(0);
    image.push_dir("/empty", NodeHeader::new(0o755, 0, 0, 0)).unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write(&mut bytes).unwrap();
    bytes.into_inner()
}
