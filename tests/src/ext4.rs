//! A small ext4 on a loop device: a data partition whose device counts what is written to it, and that can be filled.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted until it is dropped.
#[derive(Debug)]
pub struct Ext4 {
    at: PathBuf,
    device: String,
}

impl Ext4 {
    /// Makes one of so many MiB in the file `image`, and mounts it at a folder, as a board does: access times are not kept.
    ///
    /// # Panics
    /// If it cannot be made: that needs root, and the package e2fsprogs.
    pub fn mounted(image: &Path, mebibytes: u64, at: &Path) -> Ext4 {
        let file = fs::File::create(image).expect("a temporary folder can be written");
        file.set_len(mebibytes << 20).expect("a temporary folder can be written");
        // Nothing is left for the kernel to do later, nor kept for root.
        let image = image.display().to_string();
        run("mkfs.ext4", &["-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", &image]);
        let device = run("losetup", &["--find", "--show", &image]).trim().to_owned();
        let at = at.to_owned();
        run("mount", &["-t", "ext4", "-o", "noatime", &device, &at.display().to_string()]);
        Ext4 { at, device }
    }

    /// Bytes that its device was ever told to write; all that was written before is with the device.
    ///
    /// # Panics
    /// If the kernel does not count.
    pub fn bytes_written(&self) -> u64 {
        nix::unistd::syncfs(fs::File::open(&self.at).expect("it is mounted")).expect("it can be synced");
        let name = self.device.trim_start_matches("/dev/");
        let stat =
            fs::read_to_string(format!("/sys/block/{name}/stat")).expect("every block device has counters");
        // The seventh counts sectors of 512 bytes, whatever the device's own are.
        stat.split_whitespace().nth(6).and_then(|count| count.parse::<u64>().ok()).expect("it is a number")
            * 512
    }

    /// Fills it until not one more block goes in; returns what fills it.
    ///
    /// # Panics
    /// If it cannot be written for another reason than that.
    pub fn fill(&self) -> PathBuf {
        let filler = self.at.join("filler");
        fs::create_dir_all(&filler).expect("there is room to begin with");
        for size in [1 << 20, 1 << 12, 1] {
            for number in 0.. {
                let file = fs::File::create(filler.join(format!("{size}-{number}")));
                let Ok(mut file) = file else { break };
                // One that would be long goes on until nothing goes in.
                let written = (0..4096)
                    .try_for_each(|_| file.write_all(&vec![1; size]).and_then(|()| file.sync_data()));
                if written.is_err() {
                    break;
                }
            }
        }
        filler
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        // Lazily: a container of a test that failed may still be in it.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        let _ = Command::new("losetup").args(["-d", &self.device]).status();
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| unable(program, &error.to_string()));
    if !output.status.success() {
        unable(program, &String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(clippy::panic, reason = "a test without its disk has nothing to go on with")]
fn unable(program: &str, why: &str) -> ! {
    panic!("{program}: {why}")
}
