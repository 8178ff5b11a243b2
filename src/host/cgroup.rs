//! Control groups, version 2: one per container below the agent's own, on its own hierarchy or beside version 1.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use model::setup::{CgroupPlan, ProcessLimit};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, open};

use crate::error::{AsErrno, HostError};

/// The folder below which containers' groups are made.
#[derive(Debug)]
pub struct Cgroups {
    folder: PathBuf,
    controllers: Vec<String>,
}

/// One container's group. It stays until [`Cgroup::remove`].
#[derive(Debug)]
pub struct Cgroup {
    /// Boxed: without what a path under construction reserves.
    folder: Box<Path>,
    descriptor: OwnedFd,
}

/// How a container can be kept from forking without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessLimiting {
    /// By `pids.max`.
    Controller,
    /// By `kernel/pid_max` of its pid namespace (Linux 6.14).
    PidNamespace,
    /// Not at all.
    Impossible,
}

impl Cgroups {
    /// Makes `name` below the group that this process is in, which moves to a leaf of its own where controllers are handed
    /// down: whatever is to move along, the launcher first of all, is started after this. `Ok(None)`: this host has no control
    /// groups of version 2 that this process may change.
    ///
    /// # Errors
    /// They are there, and misbehave.
    pub fn open(name: &str) -> Result<Option<Cgroups>, HostError> {
        let Some(own) = own_group()? else { return Ok(None) };
        let own = before_moving(own);
        let folder = own.join(name);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if matches!(error.as_errno(), Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                return Ok(None);
            }
            Err(error) => {
                return Err(HostError::at("make control group", folder.display().to_string())(error));
            }
        }
        let controllers = delegate(&own, &folder);
        Ok(Some(Cgroups { folder, controllers }))
    }

    /// How processes can be limited here.
    pub fn process_limiting(here: Option<&Cgroups>) -> ProcessLimiting {
        match here {
            Some(cgroups) if cgroups.controllers.iter().any(|name| name == "pids") => {
                ProcessLimiting::Controller
            }
            Some(_) | None if pid_max_is_per_namespace() => ProcessLimiting::PidNamespace,
            Some(_) | None => ProcessLimiting::Impossible,
        }
    }

    /// The folder of a container's group.
    pub fn path(&self, container: &str) -> PathBuf {
        self.folder.join(container)
    }

    /// Whether a process is in a container's group, or in one below.
    pub fn holds(&self, container: &str, pid: u32) -> bool {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let group = text.lines().find_map(|line| line.strip_prefix("0::/"));
        let folder = self.path(container);
        group.zip(root()).is_some_and(|(group, root)| root.join(group).starts_with(folder))
    }

    /// Makes a container's group as planned. What a former agent left in it is ended first.
    ///
    /// # Errors
    /// A value that the kernel refuses, a controller that this host lacks.
    pub fn make(&self, container: &str, plan: &CgroupPlan) -> Result<Cgroup, HostError> {
        let folder = self.path(container);
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => make_anew(&folder)?,
            Err(error) => {
                return Err(HostError::at("make control group", folder.display().to_string())(error));
            }
        }
        let descriptor = open(&folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(HostError::at("open control group", folder.display().to_string()))?;
        let group = Cgroup { folder: folder.into_boxed_path(), descriptor };
        match self.fill(&group, plan) {
            Ok(()) => Ok(group),
            Err(error) => {
                // The first error is the one that tells.
                let _ = group.remove();
                Err(error)
            }
        }
    }

    fn fill(&self, group: &Cgroup, plan: &CgroupPlan) -> Result<(), HostError> {
        match plan.processes {
            ProcessLimit::AtMost(most) if self.controllers.iter().any(|name| name == "pids") => {
                write(&group.folder.join("pids.max"), &most.to_string())?;
            }
            ProcessLimit::AtMost(_) | ProcessLimit::Unlimited => {}
        }
        for (file, value) in &plan.values {
            write(&group.folder.join(file), value)?;
        }
        Ok(())
    }

    /// Removes a container's group, if there is one. Everything in it must have ended.
    ///
    /// # Errors
    /// All it met.
    pub fn remove_one(&self, container: &str) -> Result<(), Vec<HostError>> {
        remove(&self.path(container))
    }

    /// Ends everything in every container's group and removes them.
    ///
    /// # Errors
    /// All it met.
    pub fn remove(&self) -> Result<(), Vec<HostError>> {
        remove(&self.folder)
    }
}

impl Cgroup {
    /// Kills everything in it, whatever it forks meanwhile.
    ///
    /// # Errors
    /// The kernel is older than 5.14.
    pub fn kill(&self) -> Result<(), HostError> {
        write(&self.folder.join("cgroup.kill"), "1")
    }

    /// Removes it, with groups that the container made below. Everything in it must have ended.
    ///
    /// # Errors
    /// All it met.
    pub fn remove(&self) -> Result<(), Vec<HostError>> {
        remove(&self.folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Ends whatever is in a group, and makes it anew. A group that was ever killed is of no use: kernels from 6.14 on also kill
/// what is cloned into it later.
fn make_anew(folder: &Path) -> Result<(), HostError> {
    write(&folder.join("cgroup.kill"), "1")?;
    wait_until_empty(folder)?;
    // The first error is the one that tells.
    remove(folder).map_err(|mut errors| errors.swap_remove(0))?;
    fs::create_dir(folder).map_err(HostError::at("make control group", folder.display().to_string()))
}

/// Killed processes leave within microseconds; one that is stuck in the kernel must not hold up the caller.
fn wait_until_empty(folder: &Path) -> Result<(), HostError> {
    let path = folder.join("cgroup.events");
    let at = || path.display().to_string();
    let events = fs::File::open(&path).map_err(HostError::at("watch", at()))?;
    let patience = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        let text = fs::read_to_string(&path).map_err(HostError::at("read", at()))?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        let mut watched = [rustix::event::PollFd::new(&events, rustix::event::PollFlags::PRI)];
        match rustix::event::poll(&mut watched, Some(&patience)) {
            Ok(0) => return Err(HostError::at("empty", at())(Errno::EBUSY)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(HostError::at("watch", at())(errno)),
        }
    }
}

/// The group of version 2 that this process is in, as a folder.
fn own_group() -> Result<Option<PathBuf>, HostError> {
    let Some(root) = root() else { return Ok(None) };
    let text = fs::read_to_string("/proc/self/cgroup").map_err(HostError::at("read", "/proc/self/cgroup"))?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(own.map(|own| root.join(own)).filter(|folder| folder.is_dir()))
}

/// A program that executed itself anew is still in the leaf that its former life moved to; a service manager may have put it
/// there in the first place.
fn before_moving(own: PathBuf) -> PathBuf {
    match own.parent() {
        Some(parent) if own.ends_with(LEAF) => parent.to_owned(),
        Some(_) | None => own,
    }
}

/// Where the agent itself is, so that the group above can hand controllers down.
const LEAF: &str = "goalpost-agent";

/// Where version 2 is mounted: alone, or beside version 1.
fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| place.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Hands every controller down to the containers. A group that hands controllers down holds no process itself, so the agent
/// moves to a leaf of its own; the root is free of that rule.
fn delegate(own: &Path, folder: &Path) -> Vec<String> {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let available = read(own.join("cgroup.controllers"));
    if !available.trim().is_empty() && own.join("cgroup.type").exists() {
        let leaf = own.join(LEAF);
        let _ = fs::create_dir(&leaf);
        let _ = fs::write(leaf.join("cgroup.procs"), "0");
    }
    for controller in available.split_ascii_whitespace() {
        for group in [own, folder] {
            // One that cannot be handed down is missing in what is read back.
            let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
    read(folder.join("cgroup.subtree_control")).split_ascii_whitespace().map(str::to_owned).collect()
}

fn pid_max_is_per_namespace() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map_while(|text| text.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 14)
}

fn write(file: &Path, value: &str) -> Result<(), HostError> {
    // A file that is not there means a controller that this host lacks; it must not be made.
    let failed = || HostError::at("write", format!("{value:?} to {}", file.display()));
    let opened = fs::OpenOptions::new().write(true).open(file).map_err(failed())?;
    // One write: a control group takes a value whole or not at all.
    rustix::io::write(&opened, value.as_bytes()).map(drop).map_err(|errno| failed()(errno.into()))
}

/// Removes a group with those below it. Most have none, and are not looked into.
fn remove(folder: &Path) -> Result<(), Vec<HostError>> {
    let Err(error) = fs::remove_dir(folder) else { return Ok(()) };
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(());
    }
    let mut errors = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for below in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        errors.extend(remove(&below.path()).err().into_iter().flatten());
    }
    if let Err(error) = fs::remove_dir(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        errors.push(HostError::at("remove control group", folder.display().to_string())(error));
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
