//! Everything about a container's first process that can be seen from outside, a name and a value each.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) type Facts = BTreeMap<String, String>;

/// Of the process with this number, in the container of this name.
pub(crate) fn of(name: &str, pid: u32) -> Facts {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mut facts = Facts::new();
    namespaces(&process, &mut facts);
    mounts(&process, &mut facts);
    credentials(&process, &mut facts);
    limits(&process, &mut facts);
    devices(&process, &mut facts);
    for entry in read(&process.join("environ")).split('\0').filter(|entry| !entry.is_empty()) {
        let (name, value) = entry.split_once('=').unwrap();
        facts.insert(format!("environment {name}"), value.to_owned());
    }
    let program = read(&process.join("cmdline")).replace('\0', " ");
    facts.insert("program".to_owned(), program);
    let cwd = fs::read_link(process.join("cwd")).unwrap();
    facts.insert("work folder".to_owned(), cwd.display().to_string());
    let node = Command::new("nsenter").args(["-t", &pid.to_string(), "-u", "uname", "-n"]).output().unwrap();
    facts.insert("host name".to_owned(), String::from_utf8(node.stdout).unwrap().trim().to_owned());
    let groups = read(&process.join("cgroup"));
    let own =
        groups.lines().any(|line| line.ends_with(&format!("/{name}")) || line.ends_with(&format!(".{name}")));
    facts.insert("control group of its own".to_owned(), own.to_string());
    facts
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn namespaces(process: &Path, facts: &mut Facts) {
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let of = |process: &Path| fs::read_link(process.join("ns").join(name)).unwrap();
        let own = of(process) != of(Path::new("/proc/self"));
        facts.insert(format!("namespace {name}"), if own { "its own" } else { "the host's" }.to_owned());
    }
}

/// Each target with what is uppermost there. Some of it depends on the host, and is told as what it comes to: where control
/// groups are mounted, what the kernel has to be hidden, with what a disk is mounted.
fn mounts(process: &Path, facts: &mut Facts) {
    facts.insert("propagation".to_owned(), "private".to_owned());
    for line in read(&process.join("mountinfo")).lines() {
        let (mount, file_system) = line.split_once(" - ").unwrap();
        let mount: Vec<&str> = mount.split(' ').collect();
        let file_system: Vec<&str> = file_system.split(' ').collect();
        let (target, kind, options) = (mount[4], file_system[0], mount[5]);
        if mount[6..].iter().any(|field| field.starts_with("shared:")) {
            facts.insert("propagation".to_owned(), "shared".to_owned());
        }
        let in_kernel = target.starts_with("/proc/") || target.starts_with("/sys/");
        let (fact, value) = if target.starts_with("/sys/fs/cgroup") {
            ("mount /sys/fs/cgroup".to_owned(), "there".to_owned())
        } else if in_kernel && !matches!(kind, "proc" | "sysfs") {
            (format!("hidden {target}"), "by something else".to_owned())
        } else if in_kernel {
            (format!("mount {target}"), options.split(',').next().unwrap().to_owned())
        } else if matches!(kind, "tmpfs" | "devpts" | "mqueue") {
            (format!("mount {target}"), format!("{kind} {options} with {}", file_system[2]))
        } else {
            (format!("mount {target}"), format!("{kind} {options}"))
        };
        facts.insert(fact, value);
    }
}

fn credentials(process: &Path, facts: &mut Facts) {
    const LINES: [&str; 18] = [
        "CapAmb",
        "CapBnd",
        "CapEff",
        "CapInh",
        "CapPrm",
        "Gid",
        "Groups",
        "NSpgid",
        "NSpid",
        "NSsid",
        "NoNewPrivs",
        "Seccomp",
        "Seccomp_filters",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "Uid",
        "Umask",
    ];
    for line in read(&process.join("status")).lines() {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| LINES.contains(name)) else {
            continue;
        };
        // Of a number in each namespace, the innermost.
        let value =
            if name.starts_with("NS") { value.split_whitespace().last().unwrap() } else { value.trim() };
        facts.insert(name.to_owned(), value.replace('\t', " "));
    }
    facts.insert("oom_score_adj".to_owned(), read(&process.join("oom_score_adj")).trim().to_owned());
}

fn limits(process: &Path, facts: &mut Facts) {
    for line in read(&process.join("limits")).lines().skip(1) {
        let (name, values) = line.split_at(26);
        let values: Vec<&str> = values.split_whitespace().take(2).collect();
        facts.insert(format!("limit {}", name.trim()), values.join(" to "));
    }
}

/// What lies in its `/dev`.
fn devices(process: &Path, facts: &mut Facts) {
    for entry in fs::read_dir(process.join("root/dev")).unwrap() {
        let entry = entry.unwrap();
        let found = fs::symlink_metadata(entry.path()).unwrap();
        let kind = found.file_type();
        let what = if kind.is_symlink() {
            format!("link to {}", fs::read_link(entry.path()).unwrap().display())
        } else if kind.is_char_device() {
            let (major, minor) = (nix::sys::stat::major(found.rdev()), nix::sys::stat::minor(found.rdev()));
            format!("character device {major}:{minor} mode {:o}", found.permissions().mode() & 0o7777)
        } else {
            format!(
                "{} mode {:o}",
                if kind.is_dir() { "folder" } else { "file" },
                found.permissions().mode() & 0o7777
            )
        };
        facts.insert(format!("device {}", entry.file_name().display()), what);
    }
}
