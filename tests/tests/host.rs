//! Containers in real namespaces, started and looked at from inside.

mod rooted;

use std::collections::BTreeSet;

use model::report::Exit;
use model::setup::{
    CgroupPlan, Create, Depth, DeviceRules, MountAttribute, Namespace, Need, Place, ProcessLimit, SetupStep,
    StartPlan, Tree,
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
    let cgroup =
        CgroupPlan { processes: ProcessLimit::Unlimited, values: Vec::new(), devices: DeviceRules::All };
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
    let node = |name: &str, minor| SetupStep::Node {
        path: format!("/dev/{name}"),
        kind: model::setup::DeviceKind::Character,
        major: 1,
        minor,
        mode: 0o666,
    };
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
    let spawned = bench.spawn(&plan(&bench, vec![], "read line")).unwrap();
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
