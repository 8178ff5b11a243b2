//! An agent's way of starting a container, as an ordinary user: a user namespace, an unpacked image, every step of a plan.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use engine::setup::{Context, Places, Privileges, ProcessLimiting, mounts, start};
use host::{Launcher, Start};
use model::revision::{Defaults, Revision};

const IMAGE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const CONF: &str = r#"
lxc.rootfs.path = overlayfs:/volumes/app/root.squashfs:/volumes/app/lxc-overlay/upper
lxc.init.cmd = /bin/sh "-c" "id -u; hostname; ls /; ls /dev; cat /pantavisor/said; touch /made && echo writable; echo x >/dev/null && echo null; ls /sys | head -n 1; touch /proc/sys/kernel/hostname; grep CapBnd /proc/self/status"
lxc.mount.auto = proc sys:mixed cgroup:mixed
lxc.mount.entry = /volumes/app/data data none bind,rw,create=dir 0 0
lxc.mount.entry = tmpfs scratch tmpfs size=1m,create=dir 0 0
lxc.cap.drop = sys_module
"#;

fn main() {
    host::child::run_if_child();
    let mut arguments = std::env::args().skip(1);
    let (root, run) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let said = match run_one(&root, &run) {
        Ok(text) => text,
        Err(error) => format!("failed to {error}\n"),
    };
    std::io::stdout().write_all(said.as_bytes()).unwrap_or_default();
}

fn run_one(root: &str, run: &str) -> Result<String, String> {
    host::namespace::enter_user_namespace().map_err(|error| error.to_string())?;
    let state = format!(
        r##"{{"#spec": "pantavisor-service-system@1",
            "app/run.json": {{"#spec": "service-manifest-run@1", "name": "app", "type": "lxc", "config": "conf",
                "root-volume": "root.squashfs", "volumes": [],
                "storage": {{"lxc-overlay": {{"persistence": "boot"}}, "data": {{"persistence": "permanent"}}}}}},
            "app/root.squashfs": "{IMAGE}", "app/conf": "{IMAGE}"}}"##
    );
    let id = "1".parse().map_err(|error| format!("{error}"))?;
    let mut conf = |_: &str, _: &model::ids::Digest| Ok(CONF.as_bytes().to_vec());
    let revision = Revision::parse(id, state.as_bytes(), Defaults::default(), &mut conf)
        .map_err(|error| format!("{error}"))?;
    let places = Places {
        store: format!("{run}/store"),
        run: run.to_owned(),
        hold: format!("{run}/hold"),
        exports: format!("{run}/exports"),
        goalctl: Some("/bin/true".into()),
    };
    let make =
        |folder: String| std::fs::create_dir_all(&folder).map_err(|error| format!("make {folder}: {error}"));
    make(places.hold.clone())?;
    make(places.pantavisor("app"))?;
    for kind in ["user-meta", "device-meta"] {
        make(places.metadata(kind))?;
    }
    make(format!("{run}/store/cache/unpacked"))?;
    std::fs::write(format!("{}/said", places.pantavisor("app")), "hello\n")
        .map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink(root, format!("{run}/store/cache/unpacked/{IMAGE}"))
        .map_err(|error| error.to_string())?;
    let context = Context {
        revision: revision.id().clone(),
        places,
        privileges: Privileges::UserNamespace,
        cgroup: None,
        processes: ProcessLimiting::PidNamespace,
    };
    let container = revision.containers().next().ok_or("find the container")?;
    let launcher = Launcher::start(Path::new("/proc/self/exe"), Path::new(&context.places.hold))
        .map_err(|error| error.to_string())?;
    let plan = mounts(container, &context).map_err(|failure| failure.detail.to_string())?;
    launcher
        .begin_mount(&plan)
        .map_err(|error| error.to_string())?
        .wait()
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let plan = start(container, &context).map_err(|failure| failure.detail.to_string())?;
    let (mut read, write) = std::io::pipe().map_err(|error| error.to_string())?;
    let start = Start { plan: &plan, output: write.as_fd(), errors: write.as_fd(), cgroup: None };
    let spawned =
        launcher.begin_start(&start).and_then(host::Pending::wait).map_err(|error| error.to_string())?;
    drop(write);
    let mut text = String::new();
    read.read_to_string(&mut text).map_err(|error| error.to_string())?;
    let exit = spawned.process.wait_for_end().map_err(|error| error.to_string())?;
    Ok(format!("{text}{exit:?}\n"))
}
