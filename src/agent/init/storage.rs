//! The data partition: found by its label, checked, mounted, grown to the end of its disk.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use host::HostError;
use host::device::{self, Arrivals};

use super::{InitError, Options, Prepared, newest, partition};

const CHECK: &str = "/sbin/e2fsck";
/// Of the exit code of e2fsck: errors are left.
const ERRORS_LEFT: i32 = 4;

/// What an ext4 says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Superblock {
    label: Vec<u8>,
    block_size: u64,
    blocks: u64,
    /// Last written, in seconds since 1970.
    written: u64,
}

/// Mounts it at `place`, unless a former agent did. Returns the newest time that it knows.
pub(super) fn make_ready(
    options: &Options,
    place: &Path,
    prepared: &mut Prepared,
) -> Result<Duration, InitError> {
    if is_mounted(place) {
        return Ok(newest(place));
    }
    let partition = find(&options.label, options.wait)?;
    check(&partition, prepared);
    prepared.note(partition::grow(&partition));
    // Read again: a check may have changed it.
    let superblock = Superblock::read(&partition);
    fs::create_dir_all(place).map_err(HostError::at("make", place.display().to_string()))?;
    device::mount(&partition, place, "ext4")?;
    if let Some(superblock) = &superblock {
        prepared.note(grow(&partition, place, superblock));
    }
    let written = superblock.map_or(Duration::ZERO, |superblock| Duration::from_secs(superblock.written));
    Ok(written.max(newest(place)))
}

pub(super) fn is_mounted(place: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == place))
}

/// Looks at each block device, and at each that comes: cards and disks may be slow.
fn find(label: &str, wait: Duration) -> Result<PathBuf, InitError> {
    let until = Instant::now() + wait;
    let arrivals = Arrivals::watch(Path::new("/dev"))?;
    loop {
        let names = fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
        let mut devices = names.map(|name| Path::new("/dev").join(name.file_name()));
        let is_it = |device: &PathBuf| {
            Superblock::read(device).is_some_and(|superblock| superblock.label == label.as_bytes())
        };
        if let Some(found) = devices.find(is_it) {
            return Ok(found);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || arrivals.next(left).is_err() {
            return Err(InitError::NoStorage { label: label.to_owned(), wait });
        }
    }
}

/// Checks and repairs it, as far as that can be done without asking anybody.
fn check(partition: &Path, prepared: &mut Prepared) {
    if !Path::new(CHECK).exists() {
        return prepared.say(&format!("storage was not checked: {CHECK} is not there"));
    }
    let device = partition.display().to_string();
    let mut code = 0;
    for how in ["-p", "-y"] {
        match device::run(Path::new(CHECK), &[how, &device]) {
            Ok(found) => code = found,
            Err(error) => return prepared.say(&format!("storage was not checked: failed to {error}")),
        }
        if code < ERRORS_LEFT {
            break;
        }
    }
    match code {
        0 => {}
        1..ERRORS_LEFT => prepared.say("storage had errors, which are repaired"),
        _ => prepared.say(&format!("storage has errors: {CHECK} ended with {code}")),
    }
}

fn grow(partition: &Path, place: &Path, superblock: &Superblock) -> Result<(), HostError> {
    let failed = || HostError::at("measure", partition.display().to_string());
    let bytes = File::open(partition).and_then(|mut file| file.seek(SeekFrom::End(0))).map_err(failed())?;
    let blocks = bytes / superblock.block_size;
    if blocks <= superblock.blocks {
        return Ok(());
    }
    log::info!("op=grow path={} blocks={} to={blocks}", place.display(), superblock.blocks);
    device::grow_ext4(place, blocks)
}

impl Superblock {
    /// Of a device that holds an ext4.
    fn read(device: &Path) -> Option<Superblock> {
        let mut bytes = [0; 1024];
        File::open(device).ok()?.read_exact_at(&mut bytes, 1024).ok()?;
        Superblock::parse(&bytes)
    }

    /// Offsets as the kernel's `struct ext4_super_block` has them.
    fn parse(bytes: &[u8; 1024]) -> Option<Superblock> {
        let number = |at: usize| -> u64 {
            let mut four = [0; 4];
            four.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(four).into()
        };
        if bytes[0x38..0x3a] != [0x53, 0xef] {
            return None;
        }
        let label: Vec<u8> = bytes[0x78..0x88].iter().copied().take_while(|byte| *byte != 0).collect();
        let block_size =
            1024_u64.checked_shl(u32::try_from(number(0x18)).ok().filter(|shift| *shift <= 6)?)?;
        const HAS_64_BITS: u64 = 0x80;
        let high = if number(0x60) & HAS_64_BITS != 0 { number(0x150) } else { 0 };
        let written = number(0x30) | u64::from(bytes[0x274]) << 32;
        Some(Superblock { label, block_size, blocks: number(0x04) | high << 32, written })
    }
}
