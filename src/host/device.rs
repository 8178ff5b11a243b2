//! What the first program of a device does to it: modules, file systems, the clock, its own network, the watchdog.

use std::ffi::CString;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use model::lxc::Ipv4Network;
use model::setup::Depth;
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::sys::wait::{WaitStatus, waitpid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::error::{AsErrno, HostError};
use crate::netlink::Route;
use crate::sys;
use crate::{block, detached};

/// Mounts a file system that is on a device.
///
/// # Errors
/// The kernel's own.
pub fn mount(device: &Path, place: &Path, kind: &str) -> Result<(), HostError> {
    nix::mount::mount(Some(device), place, Some(kind), MsFlags::MS_NOATIME, None::<&str>)
        .map_err(HostError::at("mount", format!("{} ({kind}) on {}", device.display(), place.display())))
}

/// Mounts an image (squashfs or erofs), read-only.
///
/// # Errors
/// It is no such image; the kernel's own.
pub fn mount_image(image: &Path, place: &Path) -> Result<(), HostError> {
    let subject = || format!("{} on {}", image.display(), place.display());
    let tree = block::image(&image.display().to_string(), None)?;
    let target = File::open(place).map_err(HostError::at("mount", subject()))?;
    detached::attach(tree.as_fd(), target.as_fd()).map_err(HostError::at("mount", subject()))
}

/// The tree at `/` without what is mounted in it: what a mount hides is seen there.
///
/// # Errors
/// The kernel's own.
pub fn root_alone() -> Result<OwnedFd, HostError> {
    const LOOK: &str = "look beneath what is mounted in";
    let root = File::open("/").map_err(HostError::at(LOOK, "/"))?;
    detached::clone(root.as_fd(), Depth::One).map_err(HostError::at(LOOK, "/"))
}

/// Grows a mounted ext4 to so many of its blocks.
///
/// # Errors
/// The kernel's own.
pub fn grow_ext4(place: &Path, blocks: u64) -> Result<(), HostError> {
    let failed = || HostError::at("grow", format!("{} to {blocks} blocks", place.display()));
    let mounted = File::open(place).map_err(failed())?;
    sys::resize_ext4(mounted.as_fd(), blocks).map_err(|errno| failed()(errno.into()))
}

/// Tells the kernel that a partition of a disk has another length, in bytes.
///
/// # Errors
/// The kernel's own.
pub fn resize_partition(disk: &File, number: u8, start: u64, length: u64) -> Result<(), HostError> {
    sys::resize_partition(disk.as_fd(), number, start, length)
        .map_err(HostError::at("resize", format!("partition {number}")))
}

/// Loads a module from its file. One that is loaded already is.
///
/// # Errors
/// The kernel's own.
pub fn load_module(file: &Path, parameters: &str) -> Result<(), HostError> {
    // MODULE_INIT_COMPRESSED_FILE
    const COMPRESSED: i32 = 4;
    let failed = || HostError::at("load module", file.display().to_string());
    let flags = if file.extension().is_some_and(|extension| extension == "ko") { 0 } else { COMPRESSED };
    let parameters = CString::new(parameters).map_err(|_| failed()(Errno::EINVAL.into()))?;
    let opened = File::open(file).map_err(failed())?;
    match rustix::system::finit_module(&opened, &parameters, flags) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed()(errno.into())),
    }
}

/// Sets the wall clock forward to a time since 1970; one that is later already stays.
///
/// # Errors
/// The kernel's own.
pub fn set_clock_floor(floor: Duration) -> Result<(), HostError> {
    use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
    let seconds = i64::try_from(floor.as_secs()).unwrap_or(i64::MAX);
    if clock_gettime(ClockId::Realtime).tv_sec >= seconds {
        return Ok(());
    }
    clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: 0 })
        .map_err(HostError::at("set", "the clock"))
}

/// Sets the device's own loopback up.
///
/// # Errors
/// The kernel's own.
pub fn loopback_up() -> Result<(), HostError> {
    sys::loopback_up().map_err(HostError::at("set up", "interface lo"))
}

/// Gives an interface of the device its address and sets it up; with the way out, if there is one.
///
/// # Errors
/// The kernel's own.
pub fn configure_interface(
    name: &str,
    network: Ipv4Network,
    gateway: Option<Ipv4Addr>,
) -> Result<(), HostError> {
    let failed = |what: &'static str| HostError::at(what, format!("interface {name}"));
    let mut route = Route::open().map_err(failed("configure"))?;
    let interface = route.interface(name).map_err(failed("find"))?;
    match route.add_address(&interface, network) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(failed("set the address of")(errno)),
    }
    route.set_up(&interface).map_err(failed("set up"))?;
    match gateway.map(|gateway| route.add_gateway(&interface, gateway)) {
        None | Some(Ok(()) | Err(rustix::io::Errno::EXIST)) => Ok(()),
        Some(Err(errno)) => Err(failed("set the gateway of")(errno)),
    }
}

/// Executes a program and waits for its exit code; it says what it has to say on our standard error.
///
/// # Errors
/// It cannot be executed, or a signal ended it.
pub fn run(program: &Path, arguments: &[&str]) -> Result<i32, HostError> {
    let failed = || HostError::at("run", program.display().to_string());
    let c_text = |text: &str| CString::new(text).map_err(|_| failed()(Errno::EINVAL));
    let name = c_text(&program.display().to_string())?;
    let mut all = vec![name.clone()];
    for argument in arguments {
        all.push(c_text(argument)?);
    }
    let mut actions = PosixSpawnFileActions::init().map_err(failed())?;
    actions.add_dup2(2, 1).map_err(failed())?;
    let mut attributes = PosixSpawnAttr::init().map_err(failed())?;
    // It is ended as anybody expects, whatever its caller holds back.
    attributes.set_sigmask(&SigSet::empty()).map_err(failed())?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK).map_err(failed())?;
    let environment: [CString; 0] = [];
    let pid = posix_spawn(name.as_c_str(), &actions, &attributes, &all, &environment).map_err(failed())?;
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(..)) => return Err(failed()(Errno::ECANCELED)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed()(errno)),
        }
    }
}

/// Tells when something comes into a folder.
#[derive(Debug)]
pub struct Arrivals(OwnedFd);

impl Arrivals {
    /// From now on.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn watch(folder: &Path) -> Result<Arrivals, HostError> {
        let failed = || HostError::at("watch", folder.display().to_string());
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let descriptor = inotify::init(flags).map_err(failed())?;
        inotify::add_watch(&descriptor, folder, inotify::WatchFlags::CREATE).map_err(failed())?;
        Ok(Arrivals(descriptor))
    }

    /// Waits for the next, for at most so long.
    ///
    /// # Errors
    /// The kernel's own; `ETIMEDOUT` if nothing came.
    pub fn next(&self, at_most: Duration) -> Result<(), HostError> {
        let failed = || HostError::at("wait for", "a device");
        let seconds = i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX);
        let timeout = Timespec { tv_sec: seconds, tv_nsec: at_most.subsec_nanos().into() };
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Err(failed()(Errno::ETIMEDOUT)),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed()(errno.as_errno())),
            }
        }
        // What came is looked for by whoever waits; here it is only forgotten.
        let mut events = [0; 4096];
        while rustix::io::read(&self.0, &mut events).is_ok_and(|length| length > 0) {}
        Ok(())
    }
}

/// The hardware watchdog: it restarts the device unless it is fed in time.
#[derive(Debug)]
pub struct Watchdog(OwnedFd);

impl Watchdog {
    /// The one that PID 1 holds, by its number here; it stays open there.
    ///
    /// # Errors
    /// There is no such descriptor.
    pub fn inherited(number: i32) -> Result<Watchdog, HostError> {
        sys::inherited(number).map(Watchdog).map_err(HostError::at("take over", "the watchdog"))
    }

    /// Opens it, which makes it count. It counts on when this agent is gone, and the next opens it again.
    ///
    /// # Errors
    /// There is none, or it is open already.
    pub fn open() -> Result<Watchdog, HostError> {
        let opened = File::options().write(true).open("/dev/watchdog");
        opened.map(|file| Watchdog(file.into())).map_err(HostError::at("open", "/dev/watchdog"))
    }

    /// Asks for so long a time between two meals, and tells what it will be.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn set_length(&self, length: Duration) -> Result<Duration, HostError> {
        let seconds = i32::try_from(length.as_secs()).unwrap_or(i32::MAX);
        sys::set_watchdog(self.0.as_fd(), seconds)
            .map(|seconds| Duration::from_secs(seconds.into()))
            .map_err(HostError::at("set", "the watchdog's length"))
    }

    /// Whether it was this watchdog that started the device anew. Drivers that cannot tell say no.
    #[must_use]
    pub fn has_bitten(&self) -> bool {
        const CARD_RESET: i32 = 0x20;
        sys::watchdog_boot_status(self.0.as_fd()).is_ok_and(|status| status & CARD_RESET != 0)
    }

    /// Feeds it.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn feed(&self) -> Result<(), HostError> {
        rustix::io::write(&self.0, &[0]).map(drop).map_err(HostError::at("feed", "the watchdog"))
    }
}
