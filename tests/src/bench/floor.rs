//! The floor that our own times are held against: `benches/peers/floor.c`, which stays and obeys as an agent does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::peers::{self, now_micros};

/// How a container's root comes.
#[derive(Debug, Clone, Copy)]
pub enum Root<'a> {
    /// A folder as it is.
    Folder(&'a Path),
    /// A squashfs by a loop device, with a writable layer.
    Squashfs(&'a Path),
    /// An erofs straight from its file, with a writable layer.
    Erofs(&'a Path),
}

/// A running floor. Dropped, it ends with all it started.
#[derive(Debug)]
pub struct Floor {
    process: Child,
    orders: ChildStdin,
    lines: BufReader<ChildStdout>,
    groups: Option<PathBuf>,
    _work: tempfile::TempDir,
}

impl Floor {
    /// Makes it ready to start containers.
    pub fn new(folder: &Path, root: Root<'_>) -> Floor {
        let program =
            peers::compile(folder, "floor.c", &[]).expect("a C compiler, as for the product itself");
        // Writable layers and targets lie in memory, as the agent's do.
        let work = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let work = work.expect("a temporary folder can be made");
        let name = format!("floor-of-{}", std::process::id());
        let groups = peers::unified_cgroups().map(|place| place.join(name));
        let groups = groups.filter(|place| place.is_dir() || fs::create_dir(place).is_ok());
        let (kind, source) = match root {
            Root::Folder(folder) => ("folder", folder),
            Root::Squashfs(image) => ("squashfs", image),
            Root::Erofs(image) => ("erofs", image),
        };
        let mut command = Command::new(program);
        command.arg(kind).arg(source).arg(work.path());
        command.arg(groups.as_deref().unwrap_or(Path::new("-")));
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.expect("it was just compiled");
        let orders = process.stdin.take().expect("it is piped");
        let lines = BufReader::new(process.stdout.take().expect("it is piped"));
        Floor { process, orders, lines, groups, _work: work }
    }

    /// Starts so many at once: from the order to the last one's first instruction.
    pub fn start(&mut self, count: usize) -> Duration {
        let ordered = now_micros();
        self.order(&format!("start {count}\n"));
        let last = (0..count).map(|_| self.stamp()).max().expect("at least one is started");
        Duration::from_micros(last - ordered)
    }

    /// Kills the one that was started last: from then to its next life's first instruction.
    pub fn again(&mut self) -> Duration {
        self.order("again\n");
        let (mut killed, mut running) = (None, None);
        while killed.is_none() || running.is_none() {
            let line = self.line();
            match line.strip_prefix("killed ") {
                Some(stamp) => killed = stamp.parse::<u64>().ok(),
                None => running = line.parse::<u64>().ok(),
            }
        }
        Duration::from_micros(running.zip(killed).map_or(0, |(running, killed)| running - killed))
    }

    /// Ends all.
    pub fn end(&mut self) {
        self.order("end\n");
        assert_eq!(self.line(), "ended", "the floor ends what it started");
    }

    fn order(&mut self, order: &str) {
        self.orders.write_all(order.as_bytes()).expect("the floor obeys");
    }

    fn stamp(&mut self) -> u64 {
        self.line().parse().expect("the probe writes its time; what went wrong stands on standard error")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe can be read");
        line.trim().to_owned()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.end();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(groups) = &self.groups {
            // Another floor of this benchmark may still use it.
            let _ = fs::remove_dir(groups);
        }
    }
}
