//! The demo's root image: a squashfs of empty folders around one program, packed plain, so no compressor is part of the agent.
//!
//! ```text
//! superblock │ the program's blocks │ inodes: program, folders, root │ listings: /bin, / │ owners │ padding
//! ```

const BLOCK: usize = 1 << BLOCK_LOG;
const BLOCK_LOG: u16 = 20;
const SUPERBLOCK: usize = 96;
/// The image ends with a page, as loop devices want it.
const PAGE: usize = 4096;
/// Inodes, data and owners are not compressed; there are no fragments, no extended attributes.
const FLAGS: u16 = 0x0001 | 0x0002 | 0x0010 | 0x0200 | 0x0800;
const PLAIN_DATA: u32 = 1 << 24;
const PLAIN_METADATA: u16 = 1 << 15;
const ABSENT: u64 = u64::MAX;
const GZIP: u16 = 1;
const FOLDER: u16 = 1;
const FILE: u16 = 2;
const FOLDER_INODE: usize = 32;
const MODE: u16 = 0o755;

/// A name in a listing, with the inode it stands for.
struct Entry<'a> {
    name: &'a str,
    kind: u16,
    offset: usize,
    number: usize,
}

/// Where a folder's listing is, and how long.
struct Listing {
    offset: usize,
    length: usize,
}

/// An image in which `program` is `/bin/<name>`, beside empty `folders`; these are sorted, and the first is `bin`.
pub(super) fn image(name: &str, program: &[u8], folders: &[&str]) -> Vec<u8> {
    let blocks = program.chunks(BLOCK).map(<[u8]>::len);
    let after_file = FOLDER_INODE + 4 * blocks.len();
    let root = folders.len() + 2;
    let entries: Vec<Entry<'_>> = folders
        .iter()
        .enumerate()
        .map(|(at, name)| Entry {
            name,
            kind: FOLDER,
            offset: after_file + at * FOLDER_INODE,
            number: at + 2,
        })
        .collect();
    let mut listings = Vec::new();
    let of_bin = list(&mut listings, &[Entry { name, kind: FILE, offset: 0, number: 1 }]);
    let of_root = list(&mut listings, &entries);

    let mut inodes = Vec::new();
    inode(&mut inodes, FILE, 1);
    words(&mut inodes, [word(SUPERBLOCK), u32::MAX, 0, word(program.len())]);
    blocks.for_each(|length| words(&mut inodes, [word(length) | PLAIN_DATA]));
    for (at, entry) in entries.iter().enumerate() {
        let listing = if at == 0 { &of_bin } else { &Listing { offset: 0, length: 0 } };
        folder(&mut inodes, entry.number, listing, 2, root);
    }
    let root_offset = inodes.len();
    folder(&mut inodes, root, &of_root, word(folders.len() + 2), root + 1);

    let mut image = vec![0; SUPERBLOCK];
    image.extend_from_slice(program);
    let inode_table = metadata(&mut image, &inodes);
    let directory_table = metadata(&mut image, &listings);
    let owners = metadata(&mut image, &0_u32.to_le_bytes());
    let id_table = long(image.len());
    longs(&mut image, [owners]);
    let used = long(image.len());

    let mut head = Vec::with_capacity(SUPERBLOCK);
    head.extend_from_slice(b"hsqs");
    words(&mut head, [word(root), 0, word(BLOCK), 0]);
    halves(&mut head, [GZIP, BLOCK_LOG, FLAGS, 1, 4, 0]);
    longs(
        &mut head,
        [long(root_offset), used, id_table, ABSENT, inode_table, directory_table, ABSENT, ABSENT],
    );
    image[..SUPERBLOCK].copy_from_slice(&head);
    image.resize(image.len().next_multiple_of(PAGE), 0);
    image
}

fn inode(inodes: &mut Vec<u8>, kind: u16, number: usize) {
    halves(inodes, [kind, MODE, 0, 0]);
    words(inodes, [0, word(number)]);
}

fn folder(inodes: &mut Vec<u8>, number: usize, listing: &Listing, links: u32, parent: usize) {
    inode(inodes, FOLDER, number);
    words(inodes, [0, links]);
    // `.` and `..` count for three bytes.
    halves(inodes, [half(listing.length + 3), half(listing.offset)]);
    words(inodes, [word(parent)]);
}

fn list(listings: &mut Vec<u8>, entries: &[Entry<'_>]) -> Listing {
    let offset = listings.len();
    let first = entries.first().map_or(0, |entry| entry.number);
    words(listings, [word(entries.len() - 1), 0, word(first)]);
    for entry in entries {
        halves(
            listings,
            [half(entry.offset), half(entry.number - first), entry.kind, half(entry.name.len() - 1)],
        );
        listings.extend_from_slice(entry.name.as_bytes());
    }
    Listing { offset, length: listings.len() - offset }
}

/// Appends a block of metadata, and says where it begins.
fn metadata(image: &mut Vec<u8>, block: &[u8]) -> u64 {
    let at = long(image.len());
    halves(image, [half(block.len()) | PLAIN_METADATA]);
    image.extend_from_slice(block);
    at
}

fn halves<const N: usize>(out: &mut Vec<u8>, values: [u16; N]) {
    out.extend(values.into_iter().flat_map(u16::to_le_bytes));
}

fn words<const N: usize>(out: &mut Vec<u8>, values: [u32; N]) {
    out.extend(values.into_iter().flat_map(u32::to_le_bytes));
}

fn longs<const N: usize>(out: &mut Vec<u8>, values: [u64; N]) {
    out.extend(values.into_iter().flat_map(u64::to_le_bytes));
}

fn half(value: usize) -> u16 {
    u16::try_from(value).expect("inodes and listings are below 8 KiB")
}

fn word(value: usize) -> u32 {
    u32::try_from(value).expect("a program is below 4 GiB")
}

fn long(value: usize) -> u64 {
    u64::try_from(value).expect("no address is longer than 64 bits")
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use backhand::{FilesystemReader, InnerNode};

    #[test]
    fn the_program_and_the_folders_are_read_back() {
        let program = vec![7; super::BLOCK + 5];
        let image = super::image("goalctl", &program, &["bin", "dev", "tmp"]);
        let content =
            FilesystemReader::from_reader_with_offset_and_kind(Cursor::new(image), 0, crate::image::kind())
                .unwrap();
        let paths: Vec<String> = content.files().map(|node| node.fullpath.display().to_string()).collect();
        assert_eq!(paths, ["/", "/bin", "/bin/goalctl", "/dev", "/tmp"]);
        let mut found = Vec::new();
        for node in content.files() {
            if let InnerNode::File(file) = &node.inner {
                content.file(file).reader().read_to_end(&mut found).unwrap();
            }
        }
        assert_eq!(found, program);
    }
}
