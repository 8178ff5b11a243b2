//! Set-up plans as they are, for confs as they are written: a changed line is a changed behaviour.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails right there")]

use engine::setup::{Context, Places, Privileges, ProcessLimiting, mounts, start};
use model::ids::{ContainerName, RevisionId};
use model::revision::{Defaults, Revision};
use model::setup::SetupStep;

const IMAGE: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const CONF: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn context(container: &str, privileges: Privileges) -> Context {
    Context {
        revision: "7".parse().unwrap(),
        places: Places {
            store: "/store".into(),
            run: "/run/gp".into(),
            hold: "/run/gp/hold".into(),
            exports: "/run/gp/exports".into(),
            goalctl: Some("/usr/bin/goalctl".into()),
        },
        privileges,
        cgroup: Some(format!("/sys/fs/cgroup/gp/{container}")),
        processes: ProcessLimiting::Controller,
    }
}

fn revision(conf: &str) -> Revision {
    let state = format!(
        r##"{{"#spec": "pantavisor-service-system@1",
            "app/run.json": {{"#spec": "service-manifest-run@1", "name": "app", "type": "lxc",
                "config": "lxc.container.conf", "root-volume": "root.squashfs", "volumes": [],
                "storage": {{"lxc-overlay": {{"persistence": "boot"}}, "docker--var-lib-app": {{"persistence": "permanent"}}}}}},
            "app/root.squashfs": "{IMAGE}", "app/lxc.container.conf": "{CONF}",
            "_config/app/etc/app.conf": "{IMAGE}"}}"##
    );
    let id: RevisionId = "7".parse().unwrap();
    Revision::parse(id, state.as_bytes(), Defaults::default(), &mut |_, _| Ok(conf.as_bytes().to_vec()))
        .unwrap()
}

fn plan(conf: &str, privileges: Privileges) -> String {
    let revision = revision(conf);
    let name: ContainerName = "app".parse().unwrap();
    let container = revision.container(&name).unwrap();
    let context = context("app", privileges);
    let mut text = String::from("mounts\n");
    match mounts(container, &context) {
        Ok(steps) => steps.iter().for_each(|step| text.push_str(&format!("  {step:?}\n"))),
        Err(failure) => return format!("failed to {} ({:?})\n", failure.detail, failure.kind),
    }
    match start(container, &context) {
        Ok(plan) => {
            text.push_str(&format!(
                "namespaces\n  {:?}\ncgroup\n  {:?}\nsteps\n",
                plan.namespaces, plan.cgroup
            ));
            plan.steps.iter().for_each(|step| text.push_str(&format!("  {step:?}\n")));
        }
        Err(failure) => return format!("failed to {} ({:?})\n", failure.detail, failure.kind),
    }
    text
}

const USUAL: &str = r#"
lxc.rootfs.path = overlayfs:/volumes/app/root.squashfs:/volumes/app/lxc-overlay/upper
lxc.init.cmd = /bin/app "serve" "--all"
lxc.namespace.keep = user net ipc
lxc.mount.auto = proc sys:mixed cgroup:mixed:force
lxc.mount.entry = /volumes/app/docker--var-lib-app var/lib/app none bind,rw,create=dir 0 0
lxc.mount.entry = /etc/resolv.conf etc/resolv.conf none bind,ro,create=file,optional 0 0
lxc.cap.drop = sys_module mac_admin mac_override sys_time
lxc.environment = MODE=fast
lxc.pty.max = 1024
"#;

#[test]
fn the_usual_conf_of_an_authoring_tool() {
    insta::assert_snapshot!("usual", plan(USUAL, Privileges::Root));
}

#[test]
fn the_usual_conf_without_privileges() {
    insta::assert_snapshot!("usual_unprivileged", plan(USUAL, Privileges::UserNamespace));
}

#[test]
fn a_strict_conf() {
    let conf = r"
lxc.rootfs.path = overlayfs:/volumes/base/root.squashfs:/volumes/app/lxc-overlay/upper
lxc.init.cmd = /sbin/init
lxc.init.cwd = /srv
lxc.init.uid = 1000
lxc.init.gid = 100
lxc.uts.name = strict
lxc.cap.keep = net_bind_service kill
lxc.no_new_privs = 1
lxc.prlimit.nofile = 64:128
lxc.net.0.type = empty
lxc.cgroup2.devices.deny = a
lxc.cgroup2.devices.allow = c 1:3 rwm
lxc.cgroup2.memory.max = 64M
lxc.autodev = 0
";
    insta::assert_snapshot!("strict", plan(conf, Privileges::Root));
}

#[test]
fn a_plain_folder() {
    insta::assert_snapshot!(
        "folder",
        plan("lxc.rootfs.path = dir:/srv/rootfs\nlxc.init.cmd =\n", Privileges::Root)
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_a_sentence() {
    let refused = [
        "lxc.namespace.keep = net\nlxc.net.0.type = veth\nlxc.net.0.link = br0\n",
        "lxc.net.0.type = none\nlxc.net.1.type = phys\nlxc.net.1.link = eth1\n",
        "lxc.net.3.type = veth\nlxc.net.3.ipv4.gateway = auto\n",
        "lxc.mount.entry = /a a none bind,shared 0 0\n",
    ];
    let sentences: String = refused.iter().map(|conf| plan(conf, Privileges::Root)).collect();
    insta::assert_snapshot!("refused", sentences);
}

#[test]
fn a_filter_comes_before_its_user_and_labels_come_last() {
    let last = |conf: &str| {
        let text = plan(conf, Privileges::Root);
        text.lines().rev().take(2).map(|line| format!("{line}\n")).collect::<String>()
    };
    let confs = [
        "lxc.apparmor.profile = unconfined\n",
        "lxc.apparmor.profile = web-confined\n",
        "lxc.selinux.context = system_u:system_r:lxc_t:s0\n",
    ];
    insta::assert_snapshot!("labels", confs.map(last).concat());
    let filtered = plan("lxc.seccomp.profile = /etc/web.seccomp\n", Privileges::Root);
    let tail: Vec<&str> = filtered.lines().rev().take(4).collect();
    insta::assert_snapshot!("filter", tail.join("\n"));
}

#[test]
fn without_the_pids_controller_a_container_has_fewer_process_numbers() {
    let text = |conf: &str| {
        let revision = revision(conf);
        let container = revision.container(&"app".parse().unwrap()).unwrap();
        let context =
            Context { processes: ProcessLimiting::PidNamespace, ..context("app", Privileges::Root) };
        match start(container, &context) {
            Ok(plan) => {
                let writes = plan.steps.iter().filter(|step| matches!(step, SetupStep::Write { .. }));
                format!("{:?} {:?}\n", plan.cgroup, writes.collect::<Vec<_>>())
            }
            Err(failure) => format!("failed to {}\n", failure.detail),
        }
    };
    let confs = [
        "lxc.mount.auto = proc\n",
        "lxc.mount.auto = proc\nlxc.cgroup2.pids.max = 512\n",
        "lxc.mount.auto = proc\nlxc.cgroup2.pids.max = max\n",
        "lxc.mount.auto = proc\nlxc.cgroup2.pids.max = 64\n",
        "lxc.cgroup2.pids.max = 512\n",
    ];
    insta::assert_snapshot!("process_numbers", confs.map(text).concat());
}

#[test]
fn interfaces() {
    let conf = r"
lxc.net.0.type = veth
lxc.net.0.link = br0
lxc.net.0.flags = up
lxc.net.0.ipv4.address = 10.0.3.2/24
lxc.net.0.ipv4.gateway = auto
lxc.net.1.type = phys
lxc.net.1.link = eth0
lxc.net.1.ipv4.address = 192.168.7.1
lxc.net.1.ipv4.gateway = 192.168.7.254
lxc.net.2.type = veth
lxc.net.2.name = eth%d
lxc.net.3.type = phys
lxc.net.3.link = enp1s0
lxc.net.3.name = wan
";
    let text = plan(conf, Privileges::Root);
    let own: Vec<&str> = text.lines().filter(|line| line.contains("Interface")).collect();
    insta::assert_snapshot!("interfaces", own.join("\n"));
    let refused = plan("lxc.net.0.type = veth\n", Privileges::UserNamespace);
    assert!(refused.contains("not root"), "{refused}");
}

#[test]
fn device_rules_need_control_groups() {
    let revision = revision("lxc.cgroup.devices.deny = a\n");
    let name: ContainerName = "app".parse().unwrap();
    let context = Context { cgroup: None, ..context("app", Privileges::Root) };
    let failure = start(revision.container(&name).unwrap(), &context).unwrap_err();
    assert_eq!(&*failure.detail, "attach device rules: they need control groups of version 2");
}
