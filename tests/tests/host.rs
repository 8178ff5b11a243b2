//! Containers in real namespaces, started and looked at from inside.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::explicit_write,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]

mod network;
mod rooted;

use std::collections::BTreeSet;

use model::report::Exit;
use model::setup::{
    CgroupPlan, Create, Depth, MountAttribute, MountStep, Namespace, Need, Place, ProcessLimit,
    SecurityModule, SetupStep, StartPlan, Tree,
};
use rooted::{Bench, Outcome};

fn all_namespaces() -> BTreeSet<Namespace> {
    BTreeSet::from([Namespace::Pid, Namespace::Uts, Namespace::Ipc, Namespace::Cgroup, Namespace::Network])
}

fn new(kind: &str) -> Tree {
    Tree::New { kind: kind.into(), options: Vec::new() }
}

fn mount(tree: Tree, target: &str) -> SetupStep {
    let target = target.into();
    SetupStep::Mount {
        tree,
        target,
        attributes: BTreeSet::new(),
        create: Create::Folder,
        need: Need::Required,
    }
}

fn bind(from: &std::path::Path, target: &str) -> SetupStep {
    let place = Place::of_device(from.display().to_string());
    let target = target.into();
    let tree = Tree::Bind { place, depth: Depth::One };
    SetupStep::Mount {
        tree,
        target,
        attributes: BTreeSet::new(),
        create: Create::Alike,
        need: Need::Required,
    }
}

fn node(name: &str, minor: u32) -> SetupStep {
    let path = format!("/dev/{name}");
    SetupStep::Node { path, kind: model::setup::DeviceKind::Character, major: 1, minor, mode: 0o666 }
}

fn shell(script: &str) -> SetupStep {
    SetupStep::Execute {
        arguments: vec!["sh".into(), "-c".into(), script.into()],
        environment: vec!["PATH=/bin".into(), "WHO=me".into()],
    }
}

fn plan(bench: &Bench, middle: Vec<SetupStep>, script: &str) -> StartPlan {
    let place = Place::of_device(bench.root().display().to_string());
    let mut steps = vec![
        SetupStep::HostName { name: "inside".into() },
        SetupStep::LoopbackUp,
        SetupStep::Root { tree: Tree::Bind { place, depth: Depth::One }, attributes: BTreeSet::new() },
    ];
    steps.extend(middle);
    steps.push(shell(script));
    let cgroup = CgroupPlan { processes: ProcessLimit::Unlimited, values: Vec::new() };
    StartPlan { namespaces: all_namespaces(), cgroup, steps }
}

#[test]
fn a_program_runs_in_namespaces_of_its_own() {
    let Some(bench) = Bench::new() else { return };
    let script = "echo $$; hostname; echo $WHO; ls /; cat /proc/net/dev | grep -c :; ip link show lo | grep -c ,UP; \
                  pwd; id -u; ls /proc/self/fd | wc -l; exit 7";
    let Outcome { text, exit } = bench.run(&plan(&bench, vec![mount(new("proc"), "/proc")], script)).unwrap();
    assert_eq!(text, "1\ninside\nme\nbin\nproc\n1\n1\n/\n0\n4\n");
    assert_eq!(exit, Exit::Code(7));
}

#[test]
fn a_failed_step_says_which_and_on_what_and_why() {
    let Some(bench) = Bench::new() else { return };
    let missing = bench.folder().join("not-there");
    let sentences: Vec<String> = [
        vec![bind(&missing, "/x")],
        vec![SetupStep::Node {
            path: "/bin".into(),
            kind: model::setup::DeviceKind::Character,
            major: 1,
            minor: 3,
            mode: 0o666,
        }],
        vec![SetupStep::WorkFolder { path: "/nowhere".into() }],
        vec![SetupStep::Execute { arguments: vec!["/bin/nothing".into()], environment: vec![] }],
        vec![SetupStep::Execute { arguments: vec!["nothing".into()], environment: vec!["PATH=/bin".into()] }],
        vec![mount(new("nofs"), "/x")],
        vec![SetupStep::Devices { rules: vec![] }],
    ]
    .into_iter()
    .map(|steps| bench.run(&plan(&bench, steps, "true")).unwrap_err().to_string())
    .map(|sentence| sentence.replace(&bench.folder().display().to_string(), "BENCH"))
    .collect();
    assert_eq!(
        sentences,
        [
            "open BENCH/not-there: No such file or directory (ENOENT)",
            "make device node /bin: File exists (EEXIST)",
            "enter folder /nowhere: No such file or directory (ENOENT)",
            "execute /bin/nothing: No such file or directory (ENOENT)",
            "execute nothing: No such file or directory (ENOENT)",
            "open file system nofs: No such device (ENODEV)",
            "attach device rules to the control group: Bad file number (EBADF)",
        ]
    );
}

#[test]
fn a_label_of_a_module_that_the_kernel_has_not_says_so() {
    let Some(bench) = Bench::new() else { return };
    if std::fs::read_to_string("/proc/self/attr/current").is_ok() {
        return rooted::skip("the kernel has a security module");
    }
    let with = |module, label: &str| {
        let step = SetupStep::Label { module, label: label.into() };
        bench.run(&plan(&bench, vec![step], "true")).unwrap_err().to_string()
    };
    assert_eq!(
        [with(SecurityModule::AppArmor, "web"), with(SecurityModule::Selinux, "u:r:t:s0")],
        [
            "write label web to /proc/self/attr/apparmor/exec: No such file or directory (ENOENT)",
            "write label u:r:t:s0 to /proc/self/attr/exec: Invalid argument (EINVAL)",
        ]
    );
}

#[test]
fn no_symlink_leads_a_mount_outside() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.folder().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let shown = bench.folder().join("shown");
    std::fs::create_dir(&shown).unwrap();
    std::fs::write(shown.join("here"), "").unwrap();
    std::os::unix::fs::symlink(&outside, bench.root().join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../../../../../tmp", bench.root().join("upwards")).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd", bench.root().join("magic")).unwrap();
    let steps = vec![bind(&shown, "/absolute/a"), bind(&shown, "/upwards/b")];
    let outside_path = outside.display();
    let script = format!("ls {outside_path}/a /tmp/b");
    let outcome = bench.run(&plan(&bench, steps, &script)).unwrap();
    assert!(outcome.text.contains("here"), "{}", outcome.text);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let steps = vec![mount(new("proc"), "/proc"), bind(&shown, "/magic/3/x")];
    let error = bench.run(&plan(&bench, steps, "true")).unwrap_err().to_string();
    assert!(error.ends_with("(ELOOP)"), "{error}");
}

#[test]
fn capabilities_user_masks_and_read_only_paths_are_seen_inside() {
    let Some(bench) = Bench::new() else { return };
    let dev = Tree::New { kind: "tmpfs".into(), options: vec![("mode".into(), "755".into())] };
    let steps = vec![
        mount(new("proc"), "/proc"),
        mount(dev, "/dev"),
        node("null", 3),
        node("zero", 5),
        SetupStep::Link { path: "/dev/fd".into(), to: "/proc/self/fd".into() },
        SetupStep::Mask { path: "/proc/keys".into() },
        SetupStep::Mask { path: "/proc/scsi".into() },
        SetupStep::Mask { path: "/proc/bus".into() },
        SetupStep::Mask { path: "/proc/none-such".into() },
        SetupStep::ReadOnly { path: "/proc/sys".into() },
        SetupStep::Limit { resource: 7, soft: 64, hard: 128 },
        SetupStep::Capabilities { keep: model::setup::Capabilities::NONE.with(7).with(5) },
        SetupStep::NoNewPrivileges,
        SetupStep::User { uid: 1000, gid: 1001 },
        SetupStep::WorkFolder { path: "/bin".into() },
    ];
    let script = "grep -E 'CapBnd|CapEff|CapPrm|CapInh|NoNewPrivs' /proc/self/status; id -u; id -g; cat /proc/keys | wc -c; \
                  ls /proc/bus | wc -l; touch /proc/sys/kernel/hostname 2>&1; echo x 2>&1 >/proc/sys/kernel/hostname; ulimit -n; pwd; \
                  echo a >/dev/null && head -c 2 /dev/zero | wc -c; umask";
    let outcome = bench.run(&plan(&bench, steps, script)).unwrap();
    insta::assert_snapshot!(outcome.text, @r"
    CapInh:	0000000000000000
    CapPrm:	0000000000000000
    CapEff:	0000000000000000
    CapBnd:	00000000000000a0
    NoNewPrivs:	1
    1000
    1001
    0
    0
    touch: /proc/sys/kernel/hostname: Read-only file system
    sh: can't create /proc/sys/kernel/hostname: Read-only file system
    64
    /bin
    2
    0022
    ");
}

#[test]
fn a_life_of_a_former_agent_is_found_by_its_number_and_start_time() {
    let Some(bench) = Bench::new() else { return };
    let spawned = bench.spawn(&plan(&bench, vec![], "exec sleep 1000")).unwrap();
    let (pid, started) = (spawned.process.pid(), spawned.process.started());
    let found = host::process::Process::find(pid, started).unwrap();
    assert!(found.is_some());
    let other = host::process::StartTime(started.0 + 1);
    assert!(host::process::Process::find(pid, other).unwrap().is_none());
    spawned.process.signal(9).unwrap();
    assert_eq!(spawned.process.wait_for_end().unwrap(), Exit::Signal(9));
    assert!(host::process::Process::find(pid, started).unwrap().is_none());
}

#[test]
fn a_program_runs_only_when_it_is_let_go() {
    let Some(bench) = Bench::new() else { return };
    let start_of = |script: &str| {
        let (read, write) = std::io::pipe().unwrap();
        let plan = plan(&bench, vec![], script);
        let fd = std::os::fd::AsFd::as_fd(&write);
        (
            bench
                .launcher
                .begin_start(&host::Start { plan: &plan, output: fd, errors: fd, cgroup: None })
                .unwrap(),
            read,
        )
    };
    let (pending, read) = start_of("echo ran");
    pending.abandon();
    assert_eq!(std::io::read_to_string(read).unwrap(), "");
    let (pending, read) = start_of("echo ran");
    pending.let_go();
    assert_eq!(std::io::read_to_string(read).unwrap(), "ran\n");
    pending.wait().unwrap().process.wait_for_end().unwrap();
}

#[test]
fn a_program_is_of_usual_priority() {
    let Some(bench) = Bench::new() else { return };
    // Nice value, real-time priority and policy, as proc(5) counts them.
    let script = "set -- $(cat /proc/self/stat); shift 18; echo $1; shift 21; echo $1 $2";
    let outcome = bench.run(&plan(&bench, vec![mount(new("proc"), "/proc")], script)).unwrap();
    assert_eq!(outcome.text, "0\n0 0\n");
}

#[test]
fn mount_attributes_hold_inside() {
    let Some(bench) = Bench::new() else { return };
    let shown = bench.folder().join("shown");
    std::fs::create_dir(&shown).unwrap();
    let place = Place::of_device(shown.display().to_string());
    let read_only = SetupStep::Mount {
        tree: Tree::Bind { place, depth: Depth::All },
        target: "/shown".into(),
        attributes: BTreeSet::from([MountAttribute::ReadOnly, MountAttribute::NoSuid]),
        create: Create::Folder,
        need: Need::Required,
    };
    let outcome = bench.run(&plan(&bench, vec![read_only], "touch /shown/x 2>&1")).unwrap();
    assert_eq!(outcome.text, "touch: /shown/x: Read-only file system\n");
}

fn image_of(bench: &Bench, program: &str, arguments: &[&str]) -> Option<String> {
    let made = bench.folder().join(format!("root.{program}"));
    let (root, made_text) = (bench.root().display().to_string(), made.display().to_string());
    let (from, to) = (root.as_str(), made_text.as_str());
    let places = if program == "mkfs.erofs" { [arguments, &[to, from]] } else { [&[from, to], arguments] };
    let run = std::process::Command::new(program).args(places.concat()).output();
    match run {
        Ok(output) if output.status.success() => Some(made_text),
        _ => {
            rooted::skip(&format!("{program} is not installed"));
            None
        }
    }
}

#[test]
fn images_are_mounted_layered_run_and_taken_away() {
    let Some(bench) = Bench::new() else { return };
    let squashfs = image_of(&bench, "mksquashfs", &["-quiet", "-no-progress"]);
    let erofs = image_of(&bench, "mkfs.erofs", &["--quiet"]);
    for image in [squashfs, erofs].into_iter().flatten() {
        let hold = bench.hold().display().to_string();
        let upper = bench.folder().join("layer").display().to_string();
        let writable = |path: &str| Place { anchor: upper.clone(), path: path.into() };
        let layers = Tree::Overlay {
            lower: vec![Place::of_device(format!("{hold}/image"))],
            upper: Some(model::setup::Upper { changes: writable("upper"), work: writable("work") }),
            marks: model::setup::OverlayMarks::Trusted,
        };
        let root = format!("{hold}/root");
        let steps = vec![
            image_step(&bench, &image, "image"),
            MountStep::Folder { path: upper.clone(), mode: 0o755 },
            MountStep::Mount { tree: layers, target: root.clone(), attributes: BTreeSet::new() },
        ];
        bench.launcher.begin_mount(&steps).unwrap().wait().unwrap();
        let mut plan =
            plan(&bench, vec![], "[ -e /mark ] && cat /mark; echo kept >/mark; mkdir -p /proc; ls /");
        plan.steps[2] = SetupStep::Root {
            tree: Tree::Bind { place: Place::of_device(root), depth: Depth::One },
            attributes: BTreeSet::new(),
        };
        assert_eq!(bench.run(&plan).unwrap().text, "bin\nmark\nproc\n", "{image}");
        assert_eq!(bench.run(&plan).unwrap().text, "kept\nbin\nmark\nproc\n", "{image}");
        bench.launcher.begin_unmount(&steps).unwrap().wait().unwrap();
        assert!(bench.run(&plan).unwrap_err().to_string().contains("execute"));
        std::fs::remove_dir_all(&upper).unwrap();
        assert_eq!(loop_devices_of(&image), 0, "a loop device was left");
    }
}

/// Mounts an image as the containers of one revision do.
fn image_step(bench: &Bench, file: &str, target: &str) -> MountStep {
    let at = |path: &str| bench.hold().join(path).display().to_string();
    MountStep::Image { file: file.into(), device: at("loops/image"), target: at(target) }
}

fn loop_devices_of(image: &str) -> usize {
    let loops = std::fs::read_dir("/sys/block").unwrap().flatten();
    let backing =
        loops.filter_map(|entry| std::fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    backing.filter(|file| file.trim() == image).count()
}

#[test]
fn one_loop_device_serves_all_who_mount_an_image_and_no_other_image() {
    let Some(bench) = Bench::new() else { return };
    let Some(image) = image_of(&bench, "mksquashfs", &["-quiet", "-no-progress"]) else { return };
    let other = format!("{image}.other");
    std::fs::copy(&image, &other).unwrap();
    let mount = |step: &MountStep| bench.launcher.begin_mount(std::slice::from_ref(step)).unwrap();
    let unmount = |step: &MountStep| bench.launcher.begin_unmount(std::slice::from_ref(step)).unwrap();
    let steps: Vec<_> = (0..8).map(|number| image_step(&bench, &image, &format!("image{number}"))).collect();
    // At once: none waits for another's answer.
    let working: Vec<_> = steps.iter().map(mount).collect();
    working.into_iter().for_each(|mounting| mounting.wait().unwrap());
    assert_eq!(loop_devices_of(&image), 1);
    // The link still names the device, which holds something else than what is asked for.
    let stranger = image_step(&bench, &other, "other");
    mount(&stranger).wait().unwrap();
    assert_eq!((loop_devices_of(&image), loop_devices_of(&other)), (1, 1));
    for step in &steps {
        assert_eq!(loop_devices_of(&image), 1, "it went while it was mounted");
        unmount(step).wait().unwrap();
    }
    assert_eq!((loop_devices_of(&image), loop_devices_of(&other)), (0, 1));
    unmount(&stranger).wait().unwrap();
    // The link names a device that nobody uses.
    mount(&steps[0]).wait().unwrap();
    assert_eq!((loop_devices_of(&image), loop_devices_of(&other)), (1, 0));
    unmount(&steps[0]).wait().unwrap();
    assert_eq!(loop_devices_of(&image), 0);
}

#[test]
fn mounts_are_made_whole_or_not_at_all() {
    let Some(bench) = Bench::new() else { return };
    let hold = bench.hold().display().to_string();
    let not_an_image = bench.folder().join("noise");
    std::fs::write(&not_an_image, [7; 8192]).unwrap();
    let file = not_an_image.display().to_string();
    let steps = vec![
        MountStep::Mount { tree: new("tmpfs"), target: format!("{hold}/one"), attributes: BTreeSet::new() },
        MountStep::Link { path: format!("{hold}/link"), to: "one".into() },
        image_step(&bench, &file, "two"),
    ];
    for _ in 0..2 {
        let errors = bench.launcher.begin_mount(&steps).unwrap().wait().unwrap_err();
        let sentences: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            sentences,
            [format!("find a squashfs or erofs in {file}: Structure needs cleaning (EUCLEAN)")]
        );
    }
    assert_eq!(std::fs::read_dir(bench.hold()).unwrap().count(), 0, "the device's own mounts were touched");
}

#[test]
fn a_console_of_its_own_is_read_by_the_agent() {
    use std::io::Read;
    let Some(bench) = Bench::new() else { return };
    let options = vec![("newinstance".into(), String::new()), ("ptmxmode".into(), "0666".into())];
    let steps = vec![
        mount(new("tmpfs"), "/dev"),
        mount(Tree::New { kind: "devpts".into(), options }, "/dev/pts"),
        SetupStep::Console,
    ];
    let spawned =
        bench.spawn(&plan(&bench, steps, "echo hello >/dev/console; read never </dev/console")).unwrap();
    let mut console = std::fs::File::from(spawned.console.unwrap());
    let mut text = [0; 7];
    console.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello\r\n");
    spawned.process.signal(9).unwrap();
    spawned.process.wait_for_end().unwrap();
}

#[test]
fn a_control_group_holds_kills_and_guards_devices() {
    use host::cgroup::Cgroups;
    use model::lxc::{DeviceAccess, DeviceRule, Devices, Verdict};
    let Some(bench) = Bench::new() else { return };
    let name = format!("goalpost-test-{}", std::process::id());
    let Some(cgroups) = Cgroups::open(&name).unwrap() else { return rooted::skip("no cgroup v2") };
    let rule = |verdict, devices| DeviceRule { verdict, devices, access: DeviceAccess::ALL };
    let rules =
        vec![rule(Verdict::Deny, Devices::All), rule(Verdict::Allow, Devices::Character(Some(1), Some(3)))];
    let wanted = CgroupPlan { processes: ProcessLimit::AtMost(64), values: vec![] };
    let group = cgroups.make("c", &wanted).unwrap();
    let dev = vec![
        mount(new("proc"), "/proc"),
        mount(new("tmpfs"), "/dev"),
        node("null", 3),
        SetupStep::Devices { rules },
    ];
    let script = "echo x >/dev/null && echo null; mknod /dev/zero c 1 5 2>&1; cat /proc/self/cgroup | grep ^0:; sleep 1000 & exec sleep 1000";
    let (read, write) = std::io::pipe().unwrap();
    let plan = plan(&bench, dev, script);
    let start = host::Start {
        plan: &plan,
        output: std::os::fd::AsFd::as_fd(&write),
        errors: std::os::fd::AsFd::as_fd(&write),
        cgroup: Some(std::os::fd::AsFd::as_fd(&group)),
    };
    let spawned = bench.launcher.begin_start(&start).unwrap().wait().unwrap();
    drop(write);
    let lines: Vec<String> =
        std::io::BufRead::lines(std::io::BufReader::new(read)).take(3).map(Result::unwrap).collect();
    assert_eq!(lines, ["null", "mknod: /dev/zero: Operation not permitted", "0::/"]);
    group.kill().unwrap();
    assert_eq!(spawned.process.wait_for_end().unwrap(), Exit::Signal(9));
    group.remove().unwrap();
    cgroups.remove().unwrap();
    assert!(!cgroups.path("c").exists());
}

#[test]
fn a_device_that_its_own_dev_has_may_be_denied() {
    use host::cgroup::Cgroups;
    use model::lxc::{DeviceAccess, DeviceRule, Devices, Verdict};
    let Some(bench) = Bench::new() else { return };
    let name = format!("goalpost-denied-{}", std::process::id());
    let Some(cgroups) = Cgroups::open(&name).unwrap() else { return rooted::skip("no cgroup v2") };
    let rule = |verdict, devices| DeviceRule { verdict, devices, access: DeviceAccess::ALL };
    let rules =
        vec![rule(Verdict::Allow, Devices::All), rule(Verdict::Deny, Devices::Character(Some(1), Some(3)))];
    let group =
        cgroups.make("c", &CgroupPlan { processes: ProcessLimit::Unlimited, values: vec![] }).unwrap();
    let steps = vec![
        mount(new("proc"), "/proc"),
        mount(new("tmpfs"), "/dev"),
        node("null", 3),
        node("zero", 5),
        SetupStep::Mask { path: "/proc/keys".into() },
        SetupStep::Devices { rules },
    ];
    let script = "echo x 2>&1 >/dev/null; mknod /dev/again c 1 3 2>&1; cat /proc/keys 2>&1; \
                  head -c 1 /dev/zero | wc -c";
    let plan = plan(&bench, steps, script);
    let (read, write) = std::io::pipe().unwrap();
    let fd = std::os::fd::AsFd::as_fd(&write);
    let cgroup = Some(std::os::fd::AsFd::as_fd(&group));
    let start = host::Start { plan: &plan, output: fd, errors: fd, cgroup };
    let spawned = bench.launcher.begin_start(&start).unwrap().wait().unwrap();
    drop(write);
    insta::assert_snapshot!(std::io::read_to_string(read).unwrap(), @r"
    sh: can't create /dev/null: Operation not permitted
    mknod: /dev/again: Operation not permitted
    cat: can't open '/proc/keys': Operation not permitted
    1
    ");
    spawned.process.wait_for_end().unwrap();
    group.remove().unwrap();
    cgroups.remove().unwrap();
}

#[test]
fn what_a_former_life_left_in_a_control_group_is_gone_before_the_next() {
    use host::cgroup::Cgroups;
    use model::lxc::{DeviceAccess, DeviceRule, Devices, Verdict};
    let Some(bench) = Bench::new() else { return };
    let name = format!("goalpost-left-{}", std::process::id());
    let Some(cgroups) = Cgroups::open(&name).unwrap() else { return rooted::skip("no cgroup v2") };
    let rule = |verdict, devices| DeviceRule { verdict, devices, access: DeviceAccess::ALL };
    let rules =
        vec![rule(Verdict::Deny, Devices::All), rule(Verdict::Allow, Devices::Character(Some(1), Some(3)))];
    let wanted = CgroupPlan { processes: ProcessLimit::Unlimited, values: vec![] };
    let group = cgroups.make("c", &wanted).unwrap();
    let forever = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait";
    let start_in = |group: &host::cgroup::Cgroup, steps: Vec<SetupStep>, script: &str| {
        let (read, write) = std::io::pipe().unwrap();
        let steps = std::iter::once(mount(new("tmpfs"), "/dev")).chain(steps).collect();
        let plan = plan(&bench, steps, script);
        let fd = std::os::fd::AsFd::as_fd(&write);
        let group = Some(std::os::fd::AsFd::as_fd(group));
        let start = host::Start { plan: &plan, output: fd, errors: fd, cgroup: group };
        (bench.launcher.begin_start(&start).unwrap().wait().unwrap(), read)
    };
    let (former, _) = start_in(&group, vec![node("null", 3), SetupStep::Devices { rules }], forever);
    let next = cgroups.make("c", &wanted).unwrap();
    assert_eq!(former.process.wait_for_end().unwrap(), Exit::Signal(9));
    let members = std::fs::read_to_string(cgroups.path("c").join("cgroup.procs")).unwrap();
    assert_eq!(members, "");
    let (life, read) = start_in(&next, vec![node("zero", 5)], "head -c 1 /dev/zero | wc -c");
    assert_eq!(std::io::read_to_string(read).unwrap(), "1\n");
    life.process.wait_for_end().unwrap();
    next.remove().unwrap();
    cgroups.remove().unwrap();
}

#[test]
fn of_a_read_only_sys_the_settings_of_its_own_interfaces_can_be_written() {
    let Some(bench) = Bench::new() else { return };
    let sys = SetupStep::Mount {
        tree: new("sysfs"),
        target: "/sys".into(),
        attributes: BTreeSet::from([MountAttribute::ReadOnly]),
        create: Create::Folder,
        need: Need::Required,
    };
    let steps = vec![
        sys,
        SetupStep::Writable { path: "/sys/devices/virtual/net".into() },
        SetupStep::Writable { path: "/sys/none-such".into() },
    ];
    let script =
        "echo 1400 >/sys/class/net/lo/mtu && cat /sys/class/net/lo/mtu; echo x 2>&1 >/sys/power/state";
    let outcome = bench.run(&plan(&bench, steps, script)).unwrap();
    assert_eq!(outcome.text, "1400\nsh: can't create /sys/power/state: Read-only file system\n");
}

#[test]
fn a_new_launcher_has_the_mounts_of_the_old() {
    let Some(bench) = Bench::new() else { return };
    let hold = bench.hold().display().to_string();
    let place = Place::of_device(bench.root().display().to_string());
    let tree = Tree::Bind { place, depth: Depth::One };
    let steps = vec![MountStep::Mount { tree, target: format!("{hold}/r"), attributes: BTreeSet::new() }];
    bench.launcher.begin_mount(&steps).unwrap().wait().unwrap();
    let again = bench.launcher.start_again(rooted::program(), &bench.hold()).unwrap();
    let mut plan = plan(&bench, vec![], "exit 3");
    let place = Place::of_device(format!("{hold}/r"));
    plan.steps[2] =
        SetupStep::Root { tree: Tree::Bind { place, depth: Depth::One }, attributes: BTreeSet::new() };
    let (_read, write) = std::io::pipe().unwrap();
    let fd = std::os::fd::AsFd::as_fd(&write);
    let start = host::Start { plan: &plan, output: fd, errors: fd, cgroup: None };
    let spawned = again.begin_start(&start).unwrap().wait().unwrap();
    assert_eq!(spawned.process.wait_for_end().unwrap(), Exit::Code(3));
}

#[test]
fn an_ordinary_user_runs_the_whole_plan_of_a_conf() {
    use std::os::unix::fs::PermissionsExt;
    let Some(bench) = Bench::new() else { return };
    for folder in [bench.folder().to_owned(), bench.folder().join("run")] {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let program = bench.folder().join("unprivileged");
    std::fs::copy(env!("CARGO_BIN_EXE_host-unprivileged"), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .arg(&program)
        .args([bench.root(), bench.folder().join("run")])
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    insta::assert_snapshot!(text, @r"
    0
    app
    bin
    data
    dev
    pantavisor
    proc
    scratch
    sys
    console
    fd
    full
    log
    mqueue
    null
    ptmx
    pts
    random
    shm
    stderr
    stdin
    stdout
    tty
    urandom
    zero
    hello
    writable
    null
    block
    touch: /proc/sys/kernel/hostname: Read-only file system
    CapBnd:	000001fffffeffff
    Code(0)
    ");
}

#[test]
fn who_serves_first_makes_what_does_not() {
    // The comm before it is in brackets, and has no blank here.
    let nice = |stat: &str| stat.split(' ').nth(18).unwrap().to_owned();
    let own = move || nice(&std::fs::read_to_string("/proc/thread-self/stat").unwrap());
    host::process::serve_first();
    assert_eq!(own(), if nix::unistd::geteuid().is_root() { "-10" } else { "0" });
    let child = std::process::Command::new("/bin/busybox").args(["cat", "/proc/self/stat"]).output().unwrap();
    assert_eq!(nice(std::str::from_utf8(&child.stdout).unwrap()), "0");
    assert_eq!(std::thread::spawn(own).join().unwrap(), "0");
}
