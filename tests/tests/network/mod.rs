//! Containers with interfaces, in a network that stands for a device's.

use std::process::Command;

use model::lxc::{Gateway, Ipv4Network, Up};
use model::setup::{Link, SetupStep};

use crate::rooted::Bench;
use crate::{mount, new, plan};

/// Runs the test on a thread in a network namespace of its own, where `setup` was told to ip(8).
fn on_a_device(setup: &[&str], test: impl FnOnce(&Bench) + Send) {
    let there = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        setup.iter().for_each(|line| drop(ip(line)));
        let Some(bench) = Bench::new() else { return };
        test(&bench);
    };
    if !nix::unistd::geteuid().is_root() {
        return crate::rooted::skip("not root");
    }
    std::thread::scope(|scope| scope.spawn(there).join().unwrap());
}

fn ip(line: &str) -> String {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

fn pair(name: &str, bridge: Option<&str>) -> SetupStep {
    SetupStep::Interface {
        name: name.into(),
        link: Link::Pair { bridge: bridge.map(Into::into) },
        up: Up::Yes,
        addresses: vec![],
        gateway: None,
    }
}

fn network(text: &str) -> Ipv4Network {
    let (address, prefix) = text.split_once('/').unwrap();
    Ipv4Network { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
}

const BRIDGE: [&str; 3] =
    ["link add br0 mtu 1400 type bridge", "addr add 10.9.0.1/24 dev br0", "link set br0 up"];

#[test]
fn a_container_reaches_the_bridge_and_others_on_it() {
    on_a_device(&BRIDGE, |bench| {
        let mut one = pair("eth0", Some("br0"));
        if let SetupStep::Interface { addresses, gateway, .. } = &mut one {
            addresses.push(network("10.9.0.2/24"));
            *gateway = Some(Gateway::Auto);
        }
        let script = "ip -o addr show eth0 | grep 'inet '; ip link show eth0 | grep -o 'mtu [0-9]*'; ip route; \
                      ip link show spare | grep -c UP; busybox ping -q -c 1 -W 5 10.9.0.1 | grep loss; exec sleep 1000";
        let steps = vec![one.clone(), pair("spare", None), mount(new("proc"), "/proc")];
        let (read, write) = std::io::pipe().unwrap();
        let plan = with_network_first(plan(bench, steps, script), 2);
        let fd = std::os::fd::AsFd::as_fd(&write);
        let start = host::Start { plan: &plan, output: fd, errors: fd, cgroup: None };
        let spawned = bench.launcher.begin_start(&start).unwrap().wait().unwrap();
        drop(write);
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(read)).map(Result::unwrap);
        let mut next = || lines.next().unwrap();
        let first = next();
        assert!(first.contains("inet 10.9.0.2/24 brd 10.9.0.255 scope global eth0"), "{first}");
        assert_eq!(next(), "mtu 1400");
        assert_eq!(next(), "default via 10.9.0.1 dev eth0 ");
        let own = next();
        assert!(own.contains("10.9.0.0/24 dev eth0"), "{own}");
        assert_eq!(next(), "1");
        assert_eq!(next(), "1 packets transmitted, 1 packets received, 0% packet loss");
        let ports = ip("-o link show master br0");
        assert_eq!(ports.lines().count(), 1, "{ports}");
        assert!(ports.contains("link/ether fe:"), "{ports}");
        spawned.process.signal(9).unwrap();
        spawned.process.wait_for_end().unwrap();
    });
}

#[test]
fn a_device_s_interface_is_moved_inside_under_another_name_and_remembered() {
    on_a_device(&["link add wan0 type veth peer name far0"], |bench| {
        let taken = SetupStep::Interface {
            name: "lan".into(),
            link: Link::Device { name: "wan0".into() },
            up: Up::Yes,
            addresses: vec![network("10.8.0.5/32")],
            gateway: Some(Gateway::Address([192, 168, 1, 1].into())),
        };
        let steps = vec![taken.clone(), mount(new("proc"), "/proc")];
        let plan = with_network_first(plan(bench, steps, "exec sleep 1000"), 1);
        let spawned = bench.spawn(&plan).unwrap();
        let gone = Command::new("ip").args(["link", "show", "wan0"]).output().unwrap();
        assert!(!gone.status.success());
        let inside = |arguments: &str| {
            let network = format!("--net=/proc/{}/ns/net", spawned.process.pid());
            let output =
                Command::new("nsenter").arg(network).arg("ip").args(arguments.split(' ')).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let shown = inside("link show wan0");
        assert!(shown.contains(": lan@") && shown.contains("altname wan0"), "{shown}");
        let routes = inside("route");
        assert!(routes.contains("default via 192.168.1.1 dev lan"), "{routes}");
        assert!(routes.contains("192.168.1.1 dev lan scope link"), "{routes}");
        spawned.process.signal(9).unwrap();
        spawned.process.wait_for_end().unwrap();
    });
}

#[test]
fn an_interface_on_its_way_back_is_awaited() {
    on_a_device(&["link add far1 type veth peer name far2"], |bench| {
        let taken = SetupStep::Interface {
            name: "lan".into(),
            link: Link::Device { name: "wan1".into() },
            up: Up::No,
            addresses: vec![],
            gateway: None,
        };
        let plan = with_network_first(plan(bench, vec![taken], "ip link show lan | grep -c lan"), 1);
        let (read, write) = std::io::pipe().unwrap();
        let fd = std::os::fd::AsFd::as_fd(&write);
        let start = host::Start { plan: &plan, output: fd, errors: fd, cgroup: None };
        let pending = bench.launcher.begin_start(&start).unwrap();
        // Whether the child looks before or after this, it finds it.
        ip("link set far1 name wan1");
        let spawned = pending.wait().unwrap();
        drop(write);
        assert_eq!(std::io::read_to_string(read).unwrap(), "1\n");
        spawned.process.wait_for_end().unwrap();
    });
}

#[test]
fn an_interface_that_cannot_be_made_says_which_and_why() {
    on_a_device(&["link add plain0 type veth peer name plain1"], |bench| {
        let sentences: Vec<String> = [
            vec![pair("eth0", Some("nobridge"))],
            vec![pair("eth0", Some("plain0"))],
            vec![pair("eth0", None), pair("eth0", None)],
        ]
        .into_iter()
        .map(|steps| {
            let count = steps.len();
            bench.run(&with_network_first(plan(bench, steps, "true"), count)).unwrap_err().to_string()
        })
        .collect();
        assert_eq!(
            sentences,
            [
                "find bridge nobridge: No such device (ENODEV)",
                "make interface eth0 with its other end on bridge plain0: Operation not supported on transport endpoint (EOPNOTSUPP)",
                "make interface eth0 with its other end on the device: File exists (EEXIST)",
            ]
        );
    });
}

/// Its loopback device is up without a step that sets it up only where the namespace was made in advance.
fn shows_itself(bench: &Bench, interface: Option<SetupStep>) -> (String, bool) {
    let script = "readlink /proc/self/ns/net; ip link show lo | grep -c ,UP; ip link show | grep -c eth0";
    let count = usize::from(interface.is_some());
    let steps = interface.into_iter().chain([mount(new("proc"), "/proc")]).collect();
    let mut plan = with_network_first(plan(bench, steps, script), count);
    plan.steps.retain(|step| *step != SetupStep::LoopbackUp);
    let text = bench.run(&plan).unwrap().text;
    let mut lines = text.lines();
    let (own, is_up) = (lines.next().unwrap().to_owned(), lines.next() == Some("1"));
    assert_eq!(lines.next(), Some(if count == 1 { "1" } else { "0" }), "{text}");
    (own, is_up)
}

#[test]
fn a_network_that_is_made_in_advance_is_one_containers_alone() {
    on_a_device(&[], |bench| {
        let devices = std::fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string();
        // It may not be there yet: then the container makes its own.
        let in_advance = |interface: Option<SetupStep>| {
            let tried = (0..1000).find_map(|_| {
                bench.launcher.expect_network().unwrap();
                let (own, is_up) = shows_itself(bench, interface.clone());
                is_up.then_some(own)
            });
            tried.expect("one was made before a container was started")
        };
        let first = in_advance(None);
        assert_ne!(first, devices);
        let (second, is_up) = shows_itself(bench, None);
        assert!(!is_up && second != devices, "{second} was asked for by nobody");
        assert_ne!(in_advance(Some(pair("eth0", None))), devices);
    });
}

/// As plans have it: interfaces come before the root is entered.
fn with_network_first(mut plan: model::setup::StartPlan, count: usize) -> model::setup::StartPlan {
    plan.steps[2..3 + count].rotate_left(1);
    plan
}
