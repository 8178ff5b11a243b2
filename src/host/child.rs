//! A container's first process, from its making to its program: each step of its plan, in order, and which one failed.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use model::setup::{
    Capabilities, Create, Depth, DeviceKind, MountAttribute, Need, Place, SecurityModule, SetupStep, Tree,
};
use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::stat::{SFlag, makedev};
use nix::unistd::{
    Gid, Uid, chdir, chroot, execve, fchdir, setgroups, sethostname, setresgid, setresuid, setsid,
};
use rustix::fs::OFlags;

use crate::caps;
use crate::channel::{self, Wait};
use crate::error::{AsErrno, HostError};
use crate::inside::{self, Missing};
use crate::interface::{BothSides, Outside, Wanted};
use crate::launcher::{self, Held, Kit};
use crate::sys::{self, Change};
use crate::{detached, device_filter, spare, system_calls, wire};

/// The name under which our own binary runs as the launcher.
pub(crate) const LAUNCHER: &CStr = c"goalpost-launcher";

/// Where a container's program writes.
pub(crate) struct Output {
    pub(crate) output: OwnedFd,
    pub(crate) errors: OwnedFd,
}

/// Runs the launcher, if that is what this process was executed as; it then never returns. Comes first in `main`, before a
/// thread, a runtime or an allocation that matters exists.
pub fn run_if_child() {
    let mut arguments = std::env::args_os();
    if arguments.next().map(OsString::into_vec).as_deref() != Some(LAUNCHER.to_bytes()) {
        return;
    }
    let arguments: Vec<String> = arguments.filter_map(|argument| argument.into_string().ok()).collect();
    let code = match run(&arguments) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    sys::end(code)
}

/// `folder control meeting [hold empty]`, all but the first as descriptor numbers.
fn run(arguments: &[String]) -> Result<(), HostError> {
    let descriptor = |at: usize| -> Result<OwnedFd, Errno> {
        let number = arguments.get(at).and_then(|text| text.parse().ok()).ok_or(Errno::EINVAL)?;
        sys::inherited(number)
    };
    let folder =
        arguments.first().ok_or_else(|| HostError::at("find", "the folder for mounts")(Errno::EINVAL))?;
    let control = descriptor(1).map_err(HostError::at("find", "the agent"))?;
    let meeting = descriptor(2).map_err(HostError::at("find", "where to meet the next agent"))?;
    let held = match (descriptor(3), descriptor(4)) {
        (Ok(hold), Ok(empty)) => Some(Held { hold, empty }),
        _ => None,
    };
    let outcome = launcher::serve(&control, &meeting, folder, held);
    if let Err(error) = &outcome {
        launcher::report(control.as_fd(), error);
    }
    outcome
}

/// The only packet after a plan: the program may run.
pub(crate) const GO: u8 = b'G';

/// The container has no network namespace of its own.
pub(crate) const NETWORK_SHARED: u8 = 0;
/// It makes its own while the plan is still on its way.
pub(crate) const NETWORK_AT_ONCE: u8 = 1;
/// It makes its own once it has taken along what it needs of the device's.
pub(crate) const NETWORK_IN_TURN: u8 = 2;

/// The network namespace of a container.
pub(crate) enum Network {
    /// The device's.
    Shared,
    /// Its own: one that was made in advance, or it makes one. At once, or when it has taken along what it needs of the device's.
    Own { made: Option<OwnedFd>, at_once: bool },
}

impl Network {
    /// Enters it, if this is when.
    fn enter(&self, now_at_once: bool) -> Result<(), HostError> {
        match self {
            Network::Own { made, at_once } if *at_once == now_at_once => match made {
                Some(made) => spare::enter(made),
                None => sys::unshare(CloneFlags::CLONE_NEWNET),
            }
            .map_err(HostError::at("make", "a network namespace")),
            Network::Own { .. } | Network::Shared => Ok(()),
        }
    }
}

/// Carries the plan out that comes in on `answer`. What fails is told there; exec closes it, and says so that nothing failed.
pub(crate) fn become_container(
    answer: BorrowedFd<'_>,
    output: &Output,
    cgroup: Option<BorrowedFd<'_>>,
    network: &Network,
    kit: &Kit,
) -> ! {
    let Err(error) = carry_out_all(answer, output, cgroup, network, kit);
    launcher::report(answer, &error);
    sys::end(127)
}

fn carry_out_all(
    answer: BorrowedFd<'_>,
    output: &Output,
    cgroup: Option<BorrowedFd<'_>>,
    network: &Network,
    kit: &Kit,
) -> Result<Infallible, HostError> {
    begin(output)?;
    network.enter(true)?;
    let bytes = channel::receive_long(answer).map_err(HostError::at("receive", "the set-up plan"))?;
    let steps: Vec<SetupStep> = wire::from_bytes(&bytes)
        .ok_or_else(|| HostError::at("understand", "the set-up plan")(Errno::EPROTO))?;
    let outside = Outside::open(&steps)?;
    network.enter(false)?;
    let interfaces = outside.map(Outside::with_inside).transpose()?;
    let mut trees = take_all(&steps)?.into_iter();
    let cover = Cover::take(&steps, kit)?;
    let labels = open_labels(&steps)?.into_iter();
    let filters = load_filters(&steps)?.into_iter();
    launcher::enter(&kit.empty).map_err(HostError::at("enter", "the empty mount namespace"))?;
    sys::unshare(CloneFlags::CLONE_NEWNS).map_err(HostError::at("make", "a mount namespace"))?;
    let mut stand = Stand {
        root: None,
        folder: None,
        kit,
        answer,
        cgroup,
        network,
        interfaces,
        cover,
        labels,
        filters,
        keep: Capabilities::ALL,
    };
    let mut is_let_go = false;
    for step in &steps {
        // A profile may forbid to hear it.
        if !is_let_go && matches!(step, SetupStep::SystemCalls { .. } | SetupStep::Execute { .. }) {
            wait_for_leave(answer)?;
            is_let_go = true;
        }
        stand.carry_out(step, &mut trees)?;
    }
    Err(HostError::at("find", "what to execute in the set-up plan")(Errno::ENOEXEC))
}

/// The agent makes what only the program needs meanwhile.
fn wait_for_leave(answer: BorrowedFd<'_>) -> Result<(), HostError> {
    let packet = channel::receive(answer, Wait::Yes).map_err(HostError::at("hear from", "the agent"))?;
    match packet.bytes.as_slice() {
        [GO] => Ok(()),
        _ => Err(HostError::at("hear from", "the agent")(Errno::ECONNRESET)),
    }
}

/// Leaves everything of the agent behind that a program could notice.
fn begin(output: &Output) -> Result<(), HostError> {
    let failed = |what| HostError::at("connect", what);
    // The launcher has given every other signal its default meaning back.
    sys::heed_children().map_err(HostError::at("reset", "signals"))?;
    setsid().map_err(HostError::at("begin", "a session"))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(HostError::at("open", "/dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed("standard input"))?;
    rustix::stdio::dup2_stdout(&output.output).map_err(failed("standard output"))?;
    rustix::stdio::dup2_stderr(&output.errors).map_err(failed("standard error"))?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

/// A tree for each step that attaches one, in order; none where an optional one is missing.
fn take_all(steps: &[SetupStep]) -> Result<Vec<Option<OwnedFd>>, HostError> {
    let mut trees = Vec::new();
    for step in steps {
        let (what, attributes, need) = match step {
            SetupStep::Root { tree, attributes } => (tree, attributes, Need::Required),
            SetupStep::Mount { tree, attributes, need, .. } => (tree, attributes, *need),
            SetupStep::HostName { .. }
            | SetupStep::LoopbackUp
            | SetupStep::Interface { .. }
            | SetupStep::Folder { .. }
            | SetupStep::Node { .. }
            | SetupStep::Link { .. }
            | SetupStep::Console
            | SetupStep::Mask { .. }
            | SetupStep::ReadOnly { .. }
            | SetupStep::Writable { .. }
            | SetupStep::Write { .. }
            | SetupStep::Devices { .. }
            | SetupStep::Limit { .. }
            | SetupStep::Capabilities { .. }
            | SetupStep::User { .. }
            | SetupStep::NoNewPrivileges
            | SetupStep::SystemCalls { .. }
            | SetupStep::WorkFolder { .. }
            | SetupStep::Label { .. }
            | SetupStep::Execute { .. } => continue,
        };
        match (detached::take(what, attributes), need) {
            (Ok(tree), _) => trees.push(Some(tree)),
            (Err(_), Need::Optional) => trees.push(None),
            (Err(error), Need::Required) => return Err(error),
        }
    }
    Ok(trees)
}

/// A file for each label, in order: the container's root may have no `/proc`.
fn open_labels(steps: &[SetupStep]) -> Result<Vec<OwnedFd>, HostError> {
    let mut files = Vec::new();
    for step in steps {
        if let SetupStep::Label { module, label } = step {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(label_file(*module), flags, rustix::fs::Mode::empty());
            files.push(opened.map_err(label_failed(*module, label))?);
        }
    }
    Ok(files)
}

/// A filter for each profile, in order: profiles are files of the device.
fn load_filters(steps: &[SetupStep]) -> Result<Vec<Vec<libc::sock_filter>>, HostError> {
    let mut filters = Vec::new();
    for step in steps {
        if let SetupStep::SystemCalls { profile } = step {
            filters.push(system_calls::load(profile)?);
        }
    }
    Ok(filters)
}

/// What it says holds from exec on.
fn label_file(module: SecurityModule) -> &'static str {
    match module {
        SecurityModule::AppArmor => "/proc/self/attr/apparmor/exec",
        SecurityModule::Selinux => "/proc/self/attr/exec",
    }
}

fn label_failed<E: AsErrno>(module: SecurityModule, label: &str) -> impl FnOnce(E) -> HostError {
    HostError::at("write", format!("label {label} to {}", label_file(module)))
}

/// Where the child stands on its way.
struct Stand<'a> {
    root: Option<OwnedFd>,
    /// The folder that the last node or link was made in: many follow one another in `/dev`.
    folder: Option<(String, OwnedFd)>,
    kit: &'a Kit,
    answer: BorrowedFd<'a>,
    cgroup: Option<BorrowedFd<'a>>,
    network: &'a Network,
    interfaces: Option<BothSides>,
    cover: Option<Cover>,
    labels: std::vec::IntoIter<OwnedFd>,
    filters: std::vec::IntoIter<Vec<libc::sock_filter>>,
    keep: Capabilities,
}

/// What is laid over hidden files and folders.
struct Cover {
    file: Sheet,
    folder: Sheet,
}

/// A tree that is attached many times.
enum Sheet {
    /// Taken on the device, attached nowhere.
    Loose(OwnedFd),
    /// Attached once: only then can it be cloned from within this mount namespace.
    Attached(OwnedFd),
}

impl Cover {
    fn take(steps: &[SetupStep], kit: &Kit) -> Result<Option<Cover>, HostError> {
        if !steps.iter().any(|step| matches!(step, SetupStep::Mask { .. })) {
            return Ok(None);
        }
        let sheet = |path: &str| -> Result<Sheet, HostError> {
            let tree = Tree::Bind { place: Place::of_device(path), depth: Depth::One };
            detached::take(&tree, &BTreeSet::new()).map(Sheet::Loose)
        };
        Ok(Some(Cover { file: sheet("/dev/null")?, folder: sheet(&kit.nothing)? }))
    }
}

impl Sheet {
    fn lay_over(&mut self, target: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
        match self {
            Sheet::Loose(tree) => {
                detached::attach(tree.as_fd(), target)?;
                let attached = tree.try_clone().map_err(|_| rustix::io::Errno::MFILE)?;
                *self = Sheet::Attached(attached);
                Ok(())
            }
            Sheet::Attached(tree) => {
                detached::attach(detached::clone(tree.as_fd(), Depth::One)?.as_fd(), target)
            }
        }
    }
}

impl Stand<'_> {
    fn carry_out(
        &mut self,
        step: &SetupStep,
        trees: &mut impl Iterator<Item = Option<OwnedFd>>,
    ) -> Result<(), HostError> {
        if !matches!(step, SetupStep::Node { .. } | SetupStep::Link { .. }) {
            self.folder = None;
        }
        match step {
            SetupStep::HostName { name } => {
                sethostname(name).map_err(HostError::at("set the host name to", name))
            }
            SetupStep::LoopbackUp => {
                match self.network {
                    // It was, in advance.
                    Network::Own { made: Some(_), .. } => Ok(()),
                    Network::Own { made: None, .. } | Network::Shared => {
                        sys::loopback_up().map_err(HostError::at("set up", "the loopback device"))
                    }
                }
            }
            SetupStep::Interface { name, link, up, addresses, gateway } => {
                let wanted = Wanted { name, link, up: *up, addresses, gateway: *gateway };
                self.interfaces
                    .as_mut()
                    .ok_or_else(|| HostError::at("find", "the device's network")(Errno::EBADF))?
                    .make(&wanted)
            }
            SetupStep::Root { tree, .. } => match trees.next().flatten() {
                Some(taken) => self.enter(taken).map_err(HostError::at("enter", detached::name(tree))),
                None => Err(HostError::at("enter", detached::name(tree))(Errno::ENOENT)),
            },
            SetupStep::Mount { tree, target, create, need, .. } => match trees.next().flatten() {
                Some(taken) => match self.attach(&taken, target, *create) {
                    Err(_) if *need == Need::Optional => Ok(()),
                    outcome => outcome
                        .map_err(HostError::at("mount", format!("{} on {target}", detached::name(tree)))),
                },
                None => Ok(()),
            },
            SetupStep::Folder { path, mode } => {
                inside::open_or_make(self.root()?, path, Missing::Folder { mode: *mode })
                    .map(drop)
                    .map_err(HostError::at("make folder", path))
            }
            SetupStep::Node { path, kind, major, minor, mode } => self
                .node(path, *kind, makedev((*major).into(), (*minor).into()), *mode)
                .map_err(HostError::at("make device node", path)),
            SetupStep::Link { path, to } => self.link(path, to).map_err(HostError::at("make link", path)),
            SetupStep::Console => self.console(),
            SetupStep::Mask { path } => self.mask(path).map_err(HostError::at("hide", path)),
            SetupStep::ReadOnly { path } => {
                self.cover_with_itself(path, Change::Set).map_err(HostError::at("make read-only", path))
            }
            SetupStep::Writable { path } => {
                self.cover_with_itself(path, Change::Clear).map_err(HostError::at("make writable", path))
            }
            SetupStep::Write { path, value, need } => match self.write(path, value) {
                Err(_) if *need == Need::Optional => Ok(()),
                outcome => outcome.map_err(HostError::at("write", path)),
            },
            SetupStep::Devices { rules } => self
                .cgroup
                .ok_or(Errno::EBADF)
                .and_then(|group| device_filter::attach(group, rules))
                .map_err(HostError::at("attach", "device rules to the control group")),
            SetupStep::Limit { resource, soft, hard } => sys::set_limit(*resource, *soft, *hard)
                .map_err(HostError::at("set", format!("resource limit {resource}"))),
            SetupStep::Capabilities { keep } => {
                self.keep = *keep;
                caps::bound(*keep, self.kit.last_capability)
            }
            SetupStep::User { uid, gid } => become_user(*uid, *gid),
            SetupStep::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).map_err(HostError::at("set", "no_new_privs"))
            }
            SetupStep::SystemCalls { profile } => self
                .filters
                .next()
                .ok_or(Errno::EBADF)
                .and_then(|filter| sys::filter_system_calls(&filter))
                .map_err(HostError::at("install", format!("the system call profile {profile}"))),
            SetupStep::WorkFolder { path } => {
                chdir(path.as_str()).map_err(HostError::at("enter folder", path))
            }
            SetupStep::Label { module, label } => self.label(*module, label),
            SetupStep::Execute { arguments, environment } => {
                caps::limit(self.keep)?;
                execute(arguments, environment).map(|never| match never {})
            }
        }
    }

    fn label(&mut self, module: SecurityModule, label: &str) -> Result<(), HostError> {
        let text = match module {
            SecurityModule::AppArmor => format!("exec {label}"),
            SecurityModule::Selinux => label.to_owned(),
        };
        let file = self.labels.next().ok_or(rustix::io::Errno::BADF).map_err(label_failed(module, label))?;
        rustix::io::write(&file, text.as_bytes()).map(drop).map_err(label_failed(module, label))
    }

    /// The container's root. A plan whose root comes late is ours to answer for.
    fn root(&self) -> Result<BorrowedFd<'_>, HostError> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or_else(|| HostError::at("find", "the container's root")(Errno::EBADF))
    }

    fn root_errno(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    /// Lays the tree over the empty root and makes it ours. The empty one stays below, read-only, with nothing in it.
    fn enter(&mut self, root: OwnedFd) -> Result<(), Errno> {
        let empty = inside::device().map_err(|errno| errno.as_errno())?;
        detached::attach(root.as_fd(), empty.as_fd()).map_err(|errno| errno.as_errno())?;
        fchdir(&root)?;
        chroot(".")?;
        self.root = Some(root);
        Ok(())
    }

    fn attach(&self, taken: &OwnedFd, target: &str, create: Create) -> Result<(), Errno> {
        let folder = Missing::Folder { mode: 0o755 };
        let missing = match create {
            Create::Nothing => Missing::Refused,
            Create::Folder => folder,
            Create::File => Missing::File,
            Create::Alike if is_folder(taken)? => folder,
            Create::Alike => Missing::File,
        };
        let target =
            inside::open_or_make(self.root_errno()?, target, missing).map_err(|errno| errno.as_errno())?;
        detached::attach(taken.as_fd(), target.as_fd()).map_err(|errno| errno.as_errno())
    }

    fn node(&mut self, path: &str, kind: DeviceKind, device: libc::dev_t, mode: u32) -> Result<(), Errno> {
        let kind = match kind {
            DeviceKind::Block => SFlag::S_IFBLK,
            DeviceKind::Character => SFlag::S_IFCHR,
        };
        let (parent, name) = self.parent(path)?;
        nix::sys::stat::mknodat(parent, name, kind, nix::sys::stat::Mode::from_bits_truncate(mode), device)
    }

    fn link(&mut self, path: &str, to: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(path)?;
        nix::unistd::symlinkat(to, parent, name)
    }

    /// The folder that `path` lies in, with its last name. Nothing was laid over that folder since it was opened.
    fn parent<'b>(&mut self, path: &'b str) -> Result<(BorrowedFd<'_>, &'b str), Errno> {
        let folder = path.trim_end_matches('/').rsplit_once('/').map_or("", |(folder, _)| folder);
        let known = self.folder.take().filter(|(known, _)| known == folder);
        let (opened, name) = match known {
            Some((_, opened)) => (opened, inside::last_name(path).map_err(|errno| errno.as_errno())?),
            None => inside::parent(self.root_errno()?, path).map_err(|errno| errno.as_errno())?,
        };
        let (_, opened) = &*self.folder.insert((folder.to_owned(), opened));
        Ok((opened.as_fd(), name))
    }

    /// What is not there needs no hiding.
    fn mask(&mut self, path: &str) -> Result<(), Errno> {
        let target = match inside::open(self.root_errno()?, path) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            other => other.map_err(|errno| errno.as_errno())?,
        };
        let folder = is_folder(&target)?;
        let cover = self.cover.as_mut().ok_or(Errno::EBADF)?;
        let sheet = if folder { &mut cover.folder } else { &mut cover.file };
        sheet.lay_over(target.as_fd()).map_err(|errno| errno.as_errno())
    }

    /// Lays what is at `path` over itself, read-only or writable. What is not there stays so.
    fn cover_with_itself(&self, path: &str, change: Change) -> Result<(), Errno> {
        let target = match inside::open(self.root_errno()?, path) {
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            other => other.map_err(|errno| errno.as_errno())?,
        };
        let same = detached::clone(target.as_fd(), Depth::All).map_err(|errno| errno.as_errno())?;
        let attributes = detached::flags(&[MountAttribute::ReadOnly].into());
        sys::change_mount_attributes(same.as_fd(), attributes.bits().into(), change, true)?;
        detached::attach(same.as_fd(), target.as_fd()).map_err(|errno| errno.as_errno())
    }

    fn write(&self, path: &str, value: &str) -> Result<(), Errno> {
        let file =
            inside::open_as(self.root_errno()?, path, OFlags::WRONLY).map_err(|errno| errno.as_errno())?;
        rustix::io::write(&file, value.as_bytes()).map(drop).map_err(|errno| errno.as_errno())
    }

    /// The agent's side goes to the agent; the container's is its `/dev/console`.
    fn console(&self) -> Result<(), HostError> {
        let root = self.root()?;
        let failed = |what| HostError::at("make", what);
        let master = inside::open_as(root, "/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY)
            .map_err(failed("a terminal in /dev/pts"))?;
        rustix::pty::unlockpt(&master).map_err(failed("a terminal in /dev/pts"))?;
        let flags = rustix::pty::OpenptFlags::RDWR
            | rustix::pty::OpenptFlags::NOCTTY
            | rustix::pty::OpenptFlags::CLOEXEC;
        let own = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed("a terminal in /dev/pts"))?;
        // As LXC does; and while nobody has this side open, reading the agent's would fail.
        rustix::stdio::dup2_stdin(&own).map_err(failed("standard input"))?;
        let tree = detached::clone(own.as_fd(), Depth::One).map_err(failed("/dev/console"))?;
        self.attach(&tree, "/dev/console", Create::File).map_err(HostError::at("make", "/dev/console"))?;
        channel::send(self.answer, &[launcher::CONSOLE], &[master.as_fd()])
            .map_err(HostError::at("answer", "the agent"))
    }
}

fn is_folder(place: &OwnedFd) -> Result<bool, Errno> {
    let status = rustix::fs::fstat(place).map_err(|errno| errno.as_errno())?;
    Ok(rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::Directory)
}

fn become_user(uid: u32, gid: u32) -> Result<(), HostError> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    match setgroups(&[]) {
        // In a user namespace that an ordinary user made, groups cannot be changed; there are none beyond its own then.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(HostError::at("drop", "further groups")(errno)),
    }
    setresgid(gid, gid, gid).map_err(HostError::at("become group", gid.to_string()))?;
    setresuid(uid, uid, uid).map_err(HostError::at("become user", uid.to_string()))
}

fn execute(arguments: &[String], environment: &[String]) -> Result<Infallible, HostError> {
    let program = arguments.first().map_or("", String::as_str);
    let failed = || HostError::at("execute", program);
    let to_c = |texts: &[String]| -> Result<Vec<CString>, HostError> {
        let texts = texts.iter().map(|text| CString::new(text.as_str()).map_err(|_| Errno::EINVAL));
        texts.collect::<Result<_, _>>().map_err(failed())
    };
    let (arguments, words) = (to_c(arguments)?, to_c(environment)?);
    sys::close_on_exec(3).map_err(HostError::at("close", "descriptors"))?;
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    let mut refusal = Errno::ENOENT;
    for path in candidates(program, environment) {
        let Ok(path) = CString::new(path) else { continue };
        let Err(errno) = execve(&path, &arguments, &words);
        // As a shell does: a folder of PATH that does not have it is passed over, a file that cannot be executed is remembered.
        if errno != Errno::ENOENT && errno != Errno::ENOTDIR {
            refusal = errno;
        }
    }
    Err(failed()(refusal))
}

/// Where the program may be.
fn candidates(program: &str, environment: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = environment.iter().rev().find_map(|word| word.strip_prefix("PATH=")).unwrap_or("/bin:/sbin");
    path.split(':').map(|folder| format!("{folder}/{program}")).collect()
}
