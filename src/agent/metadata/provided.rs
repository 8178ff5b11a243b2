//! The device metadata that the agent itself provides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use model::goal::Status;
use model::report::DeviceReport;
use nix::ifaddrs::getifaddrs;
use serde_json::{Value, json};

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

/// Whether containers see it as a file: what is different at each look would be wrong as soon as it was written.
pub(super) fn is_shown(key: &str) -> bool {
    !matches!(key, "storage" | "sysinfo" | "time")
}

/// What stays the same for as long as the agent lives.
pub(super) fn fixed() -> BTreeMap<&'static str, String> {
    let endianness = if cfg!(target_endian = "little") { "EL" } else { "EB" };
    BTreeMap::from([
        ("pantavisor.arch", format!("{}/{}/{endianness}", std::env::consts::ARCH, usize::BITS)),
        ("pantavisor.cpumodel", cpu_model(&beginning("/proc/cpuinfo"))),
        ("pantavisor.dtmodel", beginning("/proc/device-tree/model").trim_end_matches('\0').to_owned()),
        // No hub is asked.
        ("pantavisor.mode", "local".to_owned()),
        ("pantavisor.uname", uname().to_string()),
        ("pantavisor.version", format!("goalpost {}", env!("CARGO_PKG_VERSION"))),
    ])
}

/// What is true now. `root` is where the store lies.
pub(super) fn current(report: &DeviceReport, root: &Path) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("interfaces", interfaces().to_string()),
        ("pantavisor.revision", report.revision.as_ref().map_or_else(String::new, ToString::to_string)),
        ("pantavisor.status", report.status.map_or("", Status::as_str).to_owned()),
        ("storage", storage(root).to_string()),
        ("sysinfo", sysinfo().to_string()),
        ("time", time().to_string()),
    ])
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

fn uname() -> Value {
    let name = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    json!({
        "kernel.name": text(name.sysname()),
        "kernel.release": text(name.release()),
        "kernel.version": text(name.version()),
        "machine": text(name.machine()),
        "node.name": text(name.nodename()),
    })
}

/// `<interface>.ipv4`, `.ipv6`, `.mac`, each with all addresses.
fn interfaces() -> Value {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for interface in getifaddrs().into_iter().flatten() {
        let Some(address) = interface.address else { continue };
        let (family, text) = if let Some(address) = address.as_sockaddr_in() {
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
        found.entry(format!("{}.{family}", interface.interface_name)).or_default().push(text);
    }
    json!(found)
}

/// In bytes: `reserved` is free, and root's alone.
fn storage(root: &Path) -> Value {
    match rustix::fs::statvfs(root) {
        Ok(disk) => json!({
            "total": disk.f_blocks * disk.f_frsize,
            "free": disk.f_bfree * disk.f_frsize,
            "reserved": disk.f_bfree.saturating_sub(disk.f_bavail) * disk.f_frsize,
            "real_free": disk.f_bavail * disk.f_frsize,
        }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// The kernel's own words, and its own units.
fn sysinfo() -> Value {
    let info = rustix::system::sysinfo();
    json!({
        "uptime": info.uptime,
        "loads.0": info.loads[0],
        "loads.1": info.loads[1],
        "loads.2": info.loads[2],
        "totalram": info.totalram,
        "freeram": info.freeram,
        "sharedram": info.sharedram,
        "bufferram": info.bufferram,
        "totalswap": info.totalswap,
        "freeswap": info.freeswap,
        "procs": info.procs,
        "totalhigh": info.totalhigh,
        "freehigh": info.freehigh,
        "mem_unit": info.mem_unit,
    })
}

fn time() -> Value {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    json!({ "timeval": { "tv_sec": since.as_secs(), "tv_usec": since.subsec_micros() } })
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
        let found = interfaces();
        assert_eq!(found["lo.ipv4"][0], "127.0.0.1", "{found}");
        assert!(found.get("lo.mac").is_none(), "{found}");
    }
}
