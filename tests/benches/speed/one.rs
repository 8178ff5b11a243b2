//! One container: from STARTING, from INSTALLED, and beside a hundred others.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::bench::floor::{Floor, Root};
use tests::bench::peers::{self, now_micros, to_first_instruction};
use tests::bench::{Contender, interleaved, milliseconds, print_ratios};
use tests::live::{Agent, Client, Device, Events};

use crate::{Bench, ROUNDS, control, micros, note_missing, probe_stamp, ratio};

/// A running agent, one container of which is stopped and started.
pub(crate) struct Restarts {
    agent: Agent,
    events: Events,
    client: Client,
    name: String,
    _device: Device,
}

impl Restarts {
    /// `count` containers, of which the last is the one.
    fn new(bench: &Bench, count: usize) -> Restarts {
        let device = Device::new(&bench.on_folder(count, "stay")).in_memory();
        let agent = device.start(&bench.programs);
        let (events, client) = (agent.events(0), agent.client());
        let mut restarts =
            Restarts { agent, events, client, name: format!("c{}", count - 1), _device: device };
        (0..count).for_each(|_| drop(restarts.events.until("a start", |event| event["to"] == "STARTED")));
        restarts
    }

    /// STARTING to its program's first instruction.
    fn restart(&mut self) -> Duration {
        control(&mut self.client, &self.name, "stop");
        self.events.until_status(&self.name, "STOPPED");
        control(&mut self.client, &self.name, "start");
        let starting = micros(&self.events.until_status(&self.name, "STARTING"));
        self.events.until_status(&self.name, "STARTED");
        Duration::from_micros(probe_stamp(&self.agent, &self.name, starting) - starting)
    }
}

pub(crate) fn mounted(bench: &Bench) {
    let mut ours = Restarts::new(bench, 1);
    let mut floor = Floor::new(bench.folder.path(), Root::Folder(&bench.root));
    let bundle = peers::oci_bundle(bench.folder.path(), &bench.root);
    let lxc = peers::lxc_container(bench.folder.path(), &bench.root);
    let mut contenders = vec![
        Contender::new("goalpost", || ours.restart()),
        Contender::new("the floor", || {
            let took = floor.start(1);
            floor.end();
            took
        }),
    ];
    for runtime in ["crun", "runc"] {
        if note_missing(runtime) {
            let bundle = &bundle;
            contenders.push(Contender::new(runtime, move || {
                bench.aside.run(|| {
                    let (took, running) = OciRun::start(runtime, bundle);
                    running.end();
                    took
                })
            }));
        }
    }
    if note_missing("lxc-start") {
        contenders.push(Contender::new("lxc-start", || bench.aside.run(|| lxc_start(&lxc))));
    }
    if note_missing("podman") && podman_runs(&bench.root) {
        contenders.push(Contender::new("podman", || bench.aside.run(|| podman_run(&bench.root))));
    }
    let times = interleaved(ROUNDS, contenders);
    print_ratios(
        "one container, STARTING (images mounted) to its program's first instruction",
        &times,
        &[("the floor", 1.6), ("crun", 0.3), ("lxc-start", 0.15), ("podman", 0.03)],
    );
}

/// A container of crun or runc, with the process that stays beside it.
pub(crate) struct OciRun {
    runtime: &'static str,
    id: String,
    child: Child,
}

impl OciRun {
    /// From the call to the program's first instruction.
    pub(crate) fn start(runtime: &'static str, bundle: &Path) -> (Duration, OciRun) {
        let id = format!("goalpost-bench-{}-{:?}", now_micros(), std::thread::current().id());
        let id: String =
            id.chars().filter(|character| character.is_ascii_alphanumeric() || *character == '-').collect();
        let (took, child) =
            to_first_instruction(Command::new(runtime).arg("run").arg("-b").arg(bundle).arg(&id));
        (took, OciRun { runtime, id, child })
    }

    /// Ends both. crun can miss that its container has ended, so it is not waited for.
    pub(crate) fn end(mut self) {
        let quietly = |arguments: &[&str]| {
            let _ = Command::new(self.runtime).args(arguments).stderr(Stdio::null()).status();
        };
        quietly(&["kill", &self.id, "KILL"]);
        let _ = self.child.kill();
        let _ = self.child.wait();
        quietly(&["delete", "-f", &self.id]);
    }
}

fn lxc_start(home: &Path) -> Duration {
    let (took, mut child) =
        to_first_instruction(Command::new("lxc-start").arg("-P").arg(home).args(["-n", "bench", "-F"]));
    let _ = Command::new("lxc-stop")
        .arg("-P")
        .arg(home)
        .args(["-n", "bench", "-k"])
        .stderr(Stdio::null())
        .status();
    let _ = child.wait();
    took
}

/// Podman is particular about the host it runs on.
fn podman_runs(root: &Path) -> bool {
    let mut command = Command::new("podman");
    command.args(["run", "--rm", "--network", "none", "--cgroups", "disabled", "--rootfs"]);
    let ran = command.arg(root).arg("/probe").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let runs = ran.is_ok_and(|status| status.success());
    if !runs {
        println!("podman does not run here: no ratio to it");
    }
    runs
}

fn podman_run(root: &Path) -> Duration {
    let name = format!("goalpost-bench-{}", now_micros());
    let mut command = Command::new("podman");
    command.args(["run", "--rm", "--name", &name, "--network", "none", "--cgroups", "disabled", "--rootfs"]);
    let (took, mut child) = to_first_instruction(command.arg(root).args(["/probe", "stay"]));
    let _ = Command::new("podman")
        .args(["kill", "-s", "KILL", &name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let _ = child.wait();
    took
}

pub(crate) fn installed(bench: &Bench) {
    from_installed(bench, "squashfs", Root::Squashfs(&bench.squashfs), &bench.squashfs);
    match &bench.erofs {
        Some(image) => from_installed(bench, "erofs", Root::Erofs(image), image),
        None => {
            println!("mkfs.erofs is not installed: no row from INSTALLED with an erofs (Debian: erofs-utils)")
        }
    }
}

/// A device that is switched on has its container INSTALLED, with nothing mounted.
fn from_installed(bench: &Bench, kind: &str, root: Root<'_>, image: &Path) {
    let device = Device::new(&bench.on_image(image, 1, &json!({}))).in_memory();
    let ours = || {
        let agent = device.start(&bench.programs);
        let mut events = agent.events(0);
        let installed = micros(&events.until("the boot", |event| event["kind"] == "phase"));
        events.until_status("c0", "STARTED");
        Duration::from_micros(probe_stamp(&agent, "c0", installed) - installed)
    };
    let mut floor = Floor::new(bench.folder.path(), root);
    let mut contenders = vec![
        Contender::new("goalpost", ours),
        Contender::new("the floor", || {
            let took = floor.start(1);
            floor.end();
            took
        }),
    ];
    if Path::new("/run/systemd/system").is_dir() && note_missing("systemd-run") {
        contenders.push(Contender::new("systemd, RootImage=", || systemd_run(image)));
    } else {
        println!("systemd is not PID 1 here: no ratio to a service with RootImage=");
    }
    let times = interleaved(15, contenders);
    let what = format!("one container, INSTALLED to its program's first instruction, with its own {kind}");
    print_ratios(&what, &times, &[("the floor", 1.6), ("systemd", 0.25)]);
}

fn systemd_run(image: &Path) -> Duration {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect", "--pipe", "-p", "PrivateNetwork=yes", "-p"]);
    let (took, mut child) =
        to_first_instruction(command.arg(format!("RootImage={}", image.display())).arg("/probe"));
    let _ = child.wait();
    took
}

pub(crate) fn beside_a_hundred(bench: &Bench) {
    let (mut alone, mut beside) = (Restarts::new(bench, 1), Restarts::new(bench, 101));
    let times = interleaved(
        ROUNDS,
        vec![
            Contender::new("the first", || alone.restart()),
            Contender::new("one more beside 100", || beside.restart()),
        ],
    );
    println!("\none more container beside 100 running ones, STARTING to its program's first instruction");
    let (first, more) = (&times[0], &times[1]);
    println!("  {:<34} {:>9.3} ms median", first.name, milliseconds(first.median()));
    println!(
        "  {:<34} {:>9.3} ms median   {:.2} of the first (goal 1.3)",
        more.name,
        milliseconds(more.median()),
        ratio(more, first)
    );
}
