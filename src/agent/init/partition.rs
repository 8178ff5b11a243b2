//! The last partition of a disk with a classic table, grown to the end of the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use host::HostError;
use host::device;

const SECTOR: u64 = 512;
/// Less than that is not worth a write to the table.
const WORTH: u64 = 1024 * 1024;
const ENTRIES: usize = 446;

/// Where a partition is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: u64,
    length: u64,
}

/// Grows it, in the table and in the kernel's eyes. One on no disk, in another kind of table, or with another behind it, stays.
pub(super) fn grow(partition: &Path) -> Result<(), HostError> {
    let Some((disk, number)) = disk_of(partition) else { return Ok(()) };
    let failed = |what| HostError::at(what, disk.display().to_string());
    let mut file = OpenOptions::new().read(true).write(true).open(&disk).map_err(failed("open"))?;
    let size = file.seek(SeekFrom::End(0)).map_err(failed("measure"))?;
    let mut sector = [0; 512];
    file.read_exact_at(&mut sector, 0).map_err(failed("read the partition table of"))?;
    let Some(extent) = grown(&mut sector, number, size) else { return Ok(()) };
    log::info!("op=grow-partition disk={} number={number} bytes={}", disk.display(), extent.length);
    // Four bytes of one sector change: torn, it is the old table or the new.
    let write = |file: &File| file.write_all_at(&sector, 0).and_then(|()| file.sync_data());
    write(&file).map_err(failed("write the partition table of"))?;
    device::resize_partition(&file, number, extent.start, extent.length)
}

/// The disk that a partition is on, with its number there.
fn disk_of(partition: &Path) -> Option<(PathBuf, u8)> {
    let folder = Path::new("/sys/class/block").join(partition.file_name()?);
    let number = fs::read_to_string(folder.join("partition")).ok()?.trim().parse().ok()?;
    let disk = fs::canonicalize(folder).ok()?.parent()?.file_name()?.to_owned();
    Some((Path::new("/dev").join(disk), number))
}

/// Changes the table so that this partition ends where the disk does.
fn grown(sector: &mut [u8; 512], number: u8, disk: u64) -> Option<Extent> {
    let index = usize::from(number.checked_sub(1).filter(|index| *index < 4)?);
    let number_at = |sector: &[u8; 512], at: usize| -> u64 {
        u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]).into()
    };
    let entry = |index: usize| ENTRIES + 16 * index;
    let kind = |sector: &[u8; 512], index: usize| sector[entry(index) + 4];
    // 0xee stands for a table of another kind.
    let is_classic = sector[510..] == [0x55, 0xaa] && (0..4).all(|index| kind(sector, index) != 0xee);
    if !is_classic || kind(sector, index) == 0 {
        return None;
    }
    let start = number_at(sector, entry(index) + 8);
    let others = (0..4).filter(|other| *other != index && kind(sector, *other) != 0);
    if others.map(|other| number_at(sector, entry(other) + 8)).any(|other| other > start) {
        return None;
    }
    let (now, possible) = (number_at(sector, entry(index) + 12), (disk / SECTOR).checked_sub(start)?);
    let length = u32::try_from(possible).unwrap_or(u32::MAX);
    if u64::from(length) < now + WORTH / SECTOR {
        return None;
    }
    sector[entry(index) + 12..entry(index) + 16].copy_from_slice(&length.to_le_bytes());
    Some(Extent { start: start * SECTOR, length: u64::from(length) * SECTOR })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, start, length in sectors.
    fn table(partitions: &[(u8, u32, u32)]) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        for (index, (kind, start, length)) in partitions.iter().enumerate() {
            let entry = ENTRIES + 16 * index;
            sector[entry + 4] = *kind;
            sector[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
            sector[entry + 12..entry + 16].copy_from_slice(&length.to_le_bytes());
        }
        sector
    }

    #[test]
    fn the_last_partition_grows_to_the_end_of_its_disk() {
        let before = table(&[(0x0c, 2048, 2048), (0x83, 4096, 4096)]);
        let mut sector = before;
        let extent = grown(&mut sector, 2, 100 << 20).unwrap();
        assert_eq!(extent, Extent { start: 4096 * 512, length: (100 << 20) - 4096 * 512 });
        let changed = (0..512).filter(|at| sector[*at] != before[*at]);
        assert!(changed.into_iter().all(|at| (ENTRIES + 28..ENTRIES + 32).contains(&at)));
        assert_eq!(grown(&mut sector, 2, 100 << 20), None, "it has grown");
    }

    #[test]
    fn what_cannot_grow_stays() {
        let refused = |partitions: &[(u8, u32, u32)], number, disk| {
            let mut sector = table(partitions);
            assert_eq!(grown(&mut sector, number, disk), None);
            assert_eq!(sector, table(partitions));
        };
        refused(&[(0x83, 2048, 2048), (0x83, 4096, 4096)], 1, 100 << 20);
        refused(&[(0xee, 1, u32::MAX)], 1, 100 << 20);
        refused(&[(0x83, 2048, 2048)], 2, 100 << 20);
        refused(&[(0x83, 2048, 2048)], 5, 100 << 20);
        refused(&[(0x83, 2048, 2048)], 1, 1 << 20);
    }
}
