//! Values for control groups of version 1, as version 2 has them.

use alloc::boxed::Box;
use alloc::format;

use crate::lxc::{CgroupValue, CgroupVersion};

/// What says the same in version 2; none if it has nothing like it.
pub(super) fn of_version_1(file: &str, value: &str) -> Option<CgroupValue> {
    let (file, value): (&str, Box<str>) = match (file, value) {
        ("pids.max" | "cpuset.cpus" | "cpuset.mems", _) => (file, value.into()),
        ("memory.limit_in_bytes", "-1") => ("memory.max", "max".into()),
        ("memory.limit_in_bytes", _) => ("memory.max", value.into()),
        ("cpu.shares", _) => ("cpu.weight", format!("{}", weight(value.parse().ok()?)).into()),
        _ => return None,
    };
    Some(CgroupValue { version: CgroupVersion::V2, file: file.into(), value })
}

/// From 2 to 262144 shares to a weight of 1 to 10000, as container runtimes do it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_2_has_the_like_of_is_said_in_its_words() {
        let said =
            |file, value| of_version_1(file, value).map(|said| format!("{}={}", said.file, said.value));
        let texts = [
            said("memory.limit_in_bytes", "64M"),
            said("memory.limit_in_bytes", "-1"),
            said("pids.max", "100"),
            said("cpu.shares", "2"),
            said("cpu.shares", "1024"),
            said("cpu.shares", "262144"),
        ];
        let wanted = [
            "memory.max=64M",
            "memory.max=max",
            "pids.max=100",
            "cpu.weight=1",
            "cpu.weight=39",
            "cpu.weight=10000",
        ];
        assert_eq!(texts.map(Option::unwrap), wanted);
        assert_eq!(said("memory.swappiness", "10"), None);
        assert_eq!(said("cpu.shares", "many"), None);
    }
}
