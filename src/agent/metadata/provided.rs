//! The device metadata that the agent itself provides.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use model::goal::Status;
use model::report::DeviceReport;
use nix::ifaddrs::getifaddrs;

use crate::json::{array, object, text};

/// Every key of it.
pub(super) const KEYS: [&str; 12] = [
    "interfaces",
    "pantavisor.arch",
    "pantavisor.cpumodel",
    "pantavisor.dtmodel",
    "pantavisor.mode",
    "pantavisor.revision",
    "pantavisor.status",
    "pantavisor.uname",
    "pantavisor.version",
    "storage",
    "sysinfo",
    "time",
];

/// What stays the same for as long as the agent lives.
pub(super) fn fixed() -> Vec<(&'static str, String)> {
    let endianness = if cfg!(target_endian = "little") { "EL" } else { "EB" };
    vec![
        ("pantavisor.arch", format!("{}/{}/{endianness}", std::env::consts::ARCH, usize::BITS)),
        ("pantavisor.cpumodel", cpu_model(&beginning("/proc/cpuinfo"))),
        ("pantavisor.dtmodel", beginning("/proc/device-tree/model").trim_end_matches('\0').to_owned()),
        // No hub is asked.
        ("pantavisor.mode", "local".to_owned()),
        ("pantavisor.uname", uname()),
        ("pantavisor.version", format!("goalpost {}", env!("CARGO_PKG_VERSION"))),
    ]
}

/// What the device is doing.
pub(super) fn status(report: &DeviceReport) -> [(&'static str, String); 2] {
    [
        ("pantavisor.revision", report.revision.as_ref().map_or_else(String::new, ToString::to_string)),
        ("pantavisor.status", report.status.map_or("", Status::as_str).to_owned()),
    ]
}

/// What only a look at the device tells. `root` is where the store lies.
pub(super) fn measured(root: &Path) -> [(&'static str, String); 4] {
    [("interfaces", interfaces()), ("storage", storage(root)), ("sysinfo", sysinfo()), ("time", time())]
}

/// Of a file that the kernel makes up; empty where there is none.
fn beginning(path: &str) -> String {
    const ENOUGH: u64 = 16 * 1024;
    let mut bytes = Vec::new();
    // Not every device has every one of them.
    let _ = File::open(path).and_then(|file| file.take(ENOUGH).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// x86 has a `model name` for each processor, ARM at most one `Model` or `Hardware` for all.
fn cpu_model(info: &str) -> String {
    let value = |wanted: &str| {
        let pairs = info.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == wanted)
    };
    let known = ["model name", "cpu model", "Model", "Hardware"].into_iter().find_map(value);
    known.map_or_else(String::new, |(_, value)| value.to_owned())
}

fn uname() -> String {
    let name = rustix::system::uname();
    object(&[
        ("kernel.name", text(&name.sysname().to_string_lossy())),
        ("kernel.release", text(&name.release().to_string_lossy())),
        ("kernel.version", text(&name.version().to_string_lossy())),
        ("node.name", text(&name.nodename().to_string_lossy())),
        ("machine", text(&name.machine().to_string_lossy())),
    ])
}

/// `<interface>.ipv4`, `.ipv6`, `.mac`, each with all addresses.
fn interfaces() -> String {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for interface in getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let (family, address) = if let Some(address) = address.as_sockaddr_in() {
            ("ipv4", address.ip().to_string())
        } else if let Some(address) = address.as_sockaddr_in6() {
            ("ipv6", address.ip().to_string())
        } else {
            // The loopback's is all zeroes: it has none.
            let Some(mac) = address.as_link_addr().and_then(|link| link.addr()).filter(|mac| *mac != [0; 6])
            else {
                continue;
            };
            ("mac", mac.map(|byte| format!("{byte:02x}")).join(":"))
        };
        let name = format!("{}.{family}", interface.interface_name);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, addresses)) => addresses.push(text(&address)),
            None => found.push((name, vec![text(&address)])),
        }
    }
    let members: Vec<_> = found.iter().map(|(name, addresses)| (name.as_str(), array(addresses))).collect();
    object(&members)
}

fn numbers(members: &[(&str, u64)]) -> String {
    let members: Vec<_> = members.iter().map(|(key, number)| (*key, number.to_string())).collect();
    object(&members)
}

/// In bytes: `reserved` is free, and root's alone.
fn storage(root: &Path) -> String {
    match rustix::fs::statvfs(root) {
        Ok(disk) => numbers(&[
            ("total", disk.f_blocks * disk.f_frsize),
            ("free", disk.f_bfree * disk.f_frsize),
            ("reserved", disk.f_bfree.saturating_sub(disk.f_bavail) * disk.f_frsize),
            ("real_free", disk.f_bavail * disk.f_frsize),
        ]),
        Err(error) => object(&[("error", text(&error.to_string()))]),
    }
}

/// The kernel's own words, and its own units.
#[allow(clippy::useless_conversion, clippy::cast_sign_loss, reason = "their width is the architecture's own")]
fn sysinfo() -> String {
    let info = rustix::system::sysinfo();
    numbers(&[
        ("uptime", info.uptime as u64),
        ("loads.0", info.loads[0].into()),
        ("loads.1", info.loads[1].into()),
        ("loads.2", info.loads[2].into()),
        ("totalram", info.totalram.into()),
        ("freeram", info.freeram.into()),
        ("sharedram", info.sharedram.into()),
        ("bufferram", info.bufferram.into()),
        ("totalswap", info.totalswap.into()),
        ("freeswap", info.freeswap.into()),
        ("procs", info.procs.into()),
        ("totalhigh", info.totalhigh.into()),
        ("freehigh", info.freehigh.into()),
        ("mem_unit", info.mem_unit.into()),
    ])
}

fn time() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = numbers(&[("tv_sec", since.as_secs()), ("tv_usec", since.subsec_micros().into())]);
    object(&[("timeval", time)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_processor_is_found_where_each_architecture_writes_it() {
        assert_eq!(
            cpu_model("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2GHz\n"),
            "Some CPU @ 2GHz"
        );
        let pi = "processor\t: 0\nCPU part\t: 0xd08\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n";
        assert_eq!(cpu_model(pi), "Raspberry Pi 4 Model B Rev 1.4");
        assert_eq!(cpu_model(""), "");
    }

    #[test]
    fn this_machine_has_a_loopback_without_a_hardware_address() {
        let found: serde_json::Value = serde_json::from_str(&interfaces()).unwrap();
        assert_eq!(found["lo.ipv4"][0], "127.0.0.1", "{found}");
        assert!(found.get("lo.mac").is_none(), "{found}");
    }
}
