//! Compresses blocks on every core, in order: what goes in first comes out first, whoever packed it.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use flate2::{Compress, Compression, FlushCompress, Status};

/// How many blocks wait for each worker: enough that none is idle while one is written.
const AHEAD: usize = 4;
const MOST_WORKERS: usize = 16;

/// A block as it is stored.
#[derive(Debug)]
pub(crate) enum Packed {
    Smaller(Vec<u8>),
    /// Nothing is gained.
    AsItIs(Vec<u8>),
}

/// One stream of deflate, used again for each block.
pub(crate) struct Packer {
    deflate: Compress,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Packer")
    }
}

impl Packer {
    pub(crate) fn new() -> Packer {
        // The level that mksquashfs has unless it is told another.
        Packer { deflate: Compress::new(Compression::best(), true) }
    }

    pub(crate) fn pack(&mut self, block: Vec<u8>) -> Packed {
        self.deflate.reset();
        let mut packed = vec![0; block.len()];
        let status = self.deflate.compress(&block, &mut packed, FlushCompress::Finish);
        let size = usize::try_from(self.deflate.total_out()).unwrap_or(usize::MAX);
        if matches!(status, Ok(Status::StreamEnd)) && size < block.len() {
            packed.truncate(size);
            return Packed::Smaller(packed);
        }
        Packed::AsItIs(block)
    }
}

#[derive(Debug)]
struct Worker {
    blocks: SyncSender<Vec<u8>>,
    packed: Receiver<Packed>,
}

/// The workers, with the notes that come back beside each block.
#[derive(Debug)]
pub(crate) struct Packers<Note> {
    workers: Vec<Worker>,
    next: usize,
    under_way: VecDeque<(usize, Note)>,
}

impl<Note> Packers<Note> {
    pub(crate) fn start() -> io::Result<Packers<Note>> {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_WORKERS);
        let workers = (0..count).map(|_| Worker::start()).collect::<io::Result<Vec<_>>>()?;
        Ok(Packers { workers, next: 0, under_way: VecDeque::new() })
    }

    /// Gives a block to the next worker. Where as many as may wait do, the oldest comes back first.
    pub(crate) fn put(&mut self, block: Vec<u8>, note: Note) -> io::Result<Option<(Packed, Note)>> {
        let done = if self.under_way.len() >= self.workers.len() * AHEAD { self.take()? } else { None };
        let worker = self.next;
        self.workers[worker].blocks.send(block).map_err(|_| gone())?;
        self.next = (worker + 1) % self.workers.len();
        self.under_way.push_back((worker, note));
        Ok(done)
    }

    /// The oldest block that is under way.
    pub(crate) fn take(&mut self) -> io::Result<Option<(Packed, Note)>> {
        let Some((worker, note)) = self.under_way.pop_front() else { return Ok(None) };
        let packed = self.workers[worker].packed.recv().map_err(|_| gone())?;
        Ok(Some((packed, note)))
    }
}

impl Worker {
    fn start() -> io::Result<Worker> {
        let (blocks, incoming) = sync_channel::<Vec<u8>>(AHEAD);
        let (outgoing, packed) = sync_channel(AHEAD);
        // Ends when the sender of blocks, or the receiver of what was packed, is gone.
        std::thread::Builder::new().spawn(move || {
            let mut packer = Packer::new();
            for block in incoming {
                if outgoing.send(packer.pack(block)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Worker { blocks, packed })
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses is gone")
}
