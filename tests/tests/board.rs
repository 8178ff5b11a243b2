//! Boot loaders as they are: GRUB's and U-Boot's own tools, and U-Boot itself, read what the agent wrote, and the reverse.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails right there, and says why on its error output"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::boot::{BootFile, Kind, Loader, Options, Place};
use model::boot::{BootVars, BootedAs};
use model::ids::{Digest, RevisionId};

/// The board's files, which the images are made with.
const BOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../board");

fn id(name: &str) -> RevisionId {
    name.parse().unwrap()
}

fn vars(committed: &str, candidate: Option<&str>) -> BootVars {
    BootVars { committed: id(committed), candidate: candidate.map(id) }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// A device of folders: two boot partitions, the boot loader's own, the agent's root.
struct Device {
    folder: tempfile::TempDir,
}

impl Device {
    fn new() -> Device {
        let folder = tempfile::tempdir().unwrap();
        for name in ["part1", "part2", "part3", "root"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Device { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn loader(&self, kind: Kind, variables: &str, command_line: &str) -> Loader {
        let slots = [Place::Path(self.path("part2")), Place::Path(self.path("part3"))];
        let options =
            Options { kind, slots, variables: Place::Path(self.path(variables)), ..Options::default() };
        std::fs::write(self.path("cmdline"), command_line).unwrap();
        match Loader::new(&options, &self.path("root")) {
            Loader::Slots(slots) => {
                Loader::Slots(slots.told_by(&self.path("cmdline"), &self.path("firmware")))
            }
            other => panic!("{other:?}"),
        }
    }

    /// A revision's kernel, which has only its name in it.
    fn kernel(&self, revision: &RevisionId) -> Vec<BootFile> {
        let from = self.path(&revision.to_string().replace('/', "-"));
        std::fs::write(&from, revision.to_string()).unwrap();
        vec![BootFile { name: "pv-kernel.img", digest: sha256(&from), from }]
    }

    fn set(&self, loader: &Loader, vars: &BootVars) {
        loader.set(vars, &|revision| Ok(self.kernel(revision))).unwrap();
    }

    fn installed(&self, part: u8) -> String {
        std::fs::read_to_string(self.path(&format!("part{part}")).join("pv-kernel.img")).unwrap_or_default()
    }
}

fn sha256(path: &Path) -> Digest {
    agent::digest::of_reader(File::open(path).unwrap()).unwrap()
}

#[test]
fn grubs_own_tool_reads_what_the_agent_wrote_and_the_reverse() {
    let device = Device::new();
    let block = device.path("part1/grubenv");
    let block = block.to_str().unwrap();
    run("grub-editenv", &[block, "create"]);
    run("grub-editenv", &[block, "set", "other=kept", "pv_slot=2", "pv_try=0", "pv_trying=0"]);
    let loader = |line: &str| device.loader(Kind::Grub, "part1", line);
    let list = || run("grub-editenv", &[block, "list"]);

    device.set(&loader("pv_slot=2"), &vars("0", None));
    assert_eq!(loader("quiet pv_slot=2").boot(&id("9")).unwrap(), BootedAs::Committed(id("0")));
    device.set(&loader("pv_slot=2"), &vars("0", Some("locals/x")));
    assert_eq!(list(), "other=kept\npv_slot=2\npv_try=3\npv_trying=0\n");
    assert_eq!(device.installed(3), "locals/x");
    // As GRUB does before it boots it.
    run("grub-editenv", &[block, "set", "pv_trying=1"]);
    let tried = loader("pv_slot=3 pv_try_slot=3");
    assert_eq!(tried.boot(&id("9")).unwrap(), BootedAs::Trying(id("locals/x")));
    device.set(&tried, &vars("locals/x", None));
    assert_eq!(list(), "other=kept\npv_slot=3\npv_try=0\npv_trying=0\n");
    assert_eq!(loader("pv_slot=3").boot(&id("9")).unwrap(), BootedAs::Committed(id("locals/x")));

    // A try that failed: what is booted is never written, and the next try takes the other partition again.
    device.set(&loader("pv_slot=3"), &vars("locals/x", Some("locals/y")));
    run("grub-editenv", &[block, "set", "pv_trying=1"]);
    device.set(&loader("pv_slot=3"), &vars("locals/x", None));
    device.set(&loader("pv_slot=3"), &vars("locals/x", Some("locals/z")));
    assert_eq!((device.installed(3), device.installed(2)), ("locals/x".into(), "locals/z".into()));
    assert_eq!(list(), "other=kept\npv_slot=3\npv_try=2\npv_trying=0\n");
}

#[test]
fn u_boots_own_tool_reads_what_the_agent_wrote_and_the_reverse() {
    let device = Device::new();
    let config = uboot_environment(&device, "disk");
    let print = || run("fw_printenv", &["-c", &config]);
    let loader = |line: &str| device.loader(Kind::UBoot, "fw_env.config", line);

    device.set(&loader("pv_rev=0"), &vars("0", None));
    device.set(&loader("pv_rev=0"), &vars("0", Some("locals/x")));
    assert_eq!(
        lines(&print()),
        ["other=kept", "pv_rev=0", "pv_rev_part=2", "pv_try=locals/x", "pv_try_part=3"]
    );
    let script = device.path("script");
    std::fs::write(&script, "pv_trying=locals/x\n").unwrap();
    run("fw_setenv", &["-c", &config, "-s", script.to_str().unwrap()]);
    assert!(lines(&print()).contains(&"pv_trying=locals/x".to_owned()));
    let tried = loader("pv_rev=locals/x pv_try=locals/x");
    assert_eq!(tried.boot(&id("9")).unwrap(), BootedAs::Trying(id("locals/x")));
    device.set(&tried, &vars("locals/x", None));
    assert_eq!(lines(&print()), ["other=kept", "pv_rev=locals/x", "pv_rev_part=3"]);
}

/// As the Pi's firmware tells it: by the device tree.
#[test]
fn the_raspberry_pi_is_told_in_its_one_sector_and_by_the_reboot_itself() {
    let device = Device::new();
    let file = device.path("part1/autoboot.txt");
    std::fs::copy(format!("{BOARD}/rpi4/autoboot.txt"), &file).unwrap();
    assert!(std::fs::metadata(&file).unwrap().len() <= 512);
    std::fs::create_dir(device.path("firmware")).unwrap();
    let firmware = |partition: u32, tryboot: u32| {
        for (name, value) in [("partition", partition), ("tryboot", tryboot)] {
            std::fs::write(device.path("firmware").join(name), value.to_be_bytes()).unwrap();
        }
    };
    firmware(2, 0);
    let loader = device.loader(Kind::Tryboot, "part1", "console=tty1");
    device.set(&loader, &vars("0", None));
    assert_eq!(loader.reboot_argument(), None);
    device.set(&loader, &vars("0", Some("locals/x")));
    assert_eq!(loader.reboot_argument(), Some(c"0 tryboot"));
    firmware(3, 1);
    let loader = device.loader(Kind::Tryboot, "part1", "console=tty1");
    assert_eq!(loader.boot(&id("9")).unwrap(), BootedAs::Trying(id("locals/x")));
    device.set(&loader, &vars("locals/x", None));
    assert_eq!(loader.reboot_argument(), None);
    firmware(3, 0);
    assert_eq!(loader.boot(&id("9")).unwrap(), BootedAs::Committed(id("locals/x")));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("[all]\ntryboot_a_b=1\nboot_partition=3\n"), "{text}");
}

fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Both copies at the board's places in a file; returns the path of the configuration that says so.
fn uboot_environment(device: &Device, disk: &str) -> String {
    let path = device.path(disk);
    if !path.exists() {
        File::create(&path).unwrap().set_len(1 << 20).unwrap();
    }
    let text = std::fs::read_to_string(format!("{BOARD}/qemu-arm64/fw_env.config")).unwrap();
    let config = device.path("fw_env.config");
    std::fs::write(&config, text.replace("/dev/vda", path.to_str().unwrap())).unwrap();
    let first = device.path("first");
    std::fs::write(device.path("text"), "pv_rev=0\npv_rev_part=2\nother=kept\n").unwrap();
    let text = device.path("text");
    run("mkenvimage", &["-r", "-s", "0x2000", "-o", first.to_str().unwrap(), text.to_str().unwrap()]);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&std::fs::read(first).unwrap(), 0x40000)
        .unwrap();
    config.to_str().unwrap().to_owned()
}

/// An arm64 kernel that makes one call of the firmware: off, or reset.
fn kernel_that_calls(function: u32) -> Vec<u8> {
    let mut words = vec![0_u32; 64];
    words[0] = 0x1400_0010; // b 64
    words[4] = 0x1000; // image_size
    words[6] = 8; // flags: it may lie anywhere
    words[14] = 0x644d_5241; // "ARM\x64"
    let code = [0x5280_0000 | (function << 5), 0x72b0_8000, 0xd400_0002, 0x1400_0000];
    words[16..20].copy_from_slice(&code);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn u_boot_itself_tries_once_and_falls_back() {
    const OFF: u32 = 8;
    const RESET: u32 = 9;
    let device = Device::new();
    let disk = device.path("disk");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let disk = disk.to_str().unwrap().to_owned();
    let table = "label: dos\nstart=2048,size=32768,type=c,bootable\nsize=32768,type=c\nsize=32768,type=c\n";
    let table_file = device.path("table");
    std::fs::write(&table_file, table).unwrap();
    run("sh", &["-c", &format!("sfdisk -q {disk} < {}", table_file.display())]);
    let script = device.path("boot.scr");
    let script = script.to_str().unwrap();
    run(
        "mkimage",
        &["-A", "arm64", "-T", "script", "-C", "none", "-d", &format!("{BOARD}/qemu-arm64/boot.cmd"), script],
    );
    let (good, bad) = (device.path("good"), device.path("bad"));
    std::fs::write(&good, kernel_that_calls(OFF)).unwrap();
    std::fs::write(&bad, kernel_that_calls(RESET)).unwrap();
    for (part, file, name) in
        [(0, Path::new(script), "boot.scr"), (1, &good, "pv-kernel.img"), (2, &bad, "pv-kernel.img")]
    {
        let image = format!("{disk}@@{}", (2048 + part * 32768) * 512);
        run("mformat", &["-i", &image, "-T", "32768", "-h", "64", "-s", "32", "::"]);
        run("mcopy", &["-i", &image, file.to_str().unwrap(), &format!("::{name}")]);
    }
    let config = uboot_environment(&device, "disk");
    let loader = device.loader(Kind::UBoot, "fw_env.config", "pv_rev=0");
    device.set(&loader, &vars("0", Some("locals/x")));

    let said = run(
        "timeout",
        &[
            "120",
            "qemu-system-aarch64",
            "-M",
            "virt",
            "-cpu",
            "cortex-a72",
            "-m",
            "256",
            "-nographic",
            "-monitor",
            "none",
            "-bios",
            "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
            "-net",
            "none",
            "-drive",
            &format!("if=none,file={disk},format=raw,id=d"),
            "-device",
            "virtio-blk-pci,drive=d",
        ],
    );
    let boots: Vec<&str> =
        said.lines().filter(|line| line.starts_with("goalpost: ")).map(str::trim_end).collect();
    let expected = [
        "goalpost: partition 3: console=ttyAMA0 panic=5 pv_rev=locals/x pv_try=locals/x",
        "goalpost: partition 2: console=ttyAMA0 panic=5 pv_rev=0",
    ];
    assert_eq!(boots, expected, "{said}");
    // What U-Boot wrote, its own tool and the agent read.
    let printed = run("fw_printenv", &["-c", &config]);
    assert!(lines(&printed).contains(&"pv_trying=locals/x".to_owned()), "{printed}");
    device.set(&loader, &vars("0", None));
    assert_eq!(lines(&run("fw_printenv", &["-c", &config])), ["pv_rev=0", "pv_rev_part=2"]);
}
