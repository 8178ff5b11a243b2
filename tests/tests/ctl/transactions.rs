//! Transactions on the device: parts come and go, both names of the program mean the same, a cut leaves a whole state.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tar::EntryType;

use crate::authoring::{CONF, IMAGE, add, digest, good_members, package};
use crate::device::{Device, id};
use crate::goalctl::{Said, command, program, said, without};

/// A place for transactions, with the program under both its names.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    socket: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench::beside(Path::new("/none-such/pv-ctrl"))
    }

    fn beside(socket: &Path) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(program(), folder.path().join("pvtx")).unwrap();
        Bench { folder, socket: socket.to_owned() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn with_place(&self, mut command: Command) -> Command {
        command.env("PVTXDIR", self.path("tx")).env("GOALPOST_SOCKET", &self.socket);
        command
    }

    pub(crate) fn tx(&self, words: &[&str]) -> Said {
        said(self.with_place(command()).arg("tx").args(words).output().unwrap())
    }

    fn pvtx(&self, words: &[&str]) -> Said {
        said(self.with_place(Command::new(self.path("pvtx"))).args(words).output().unwrap())
    }

    /// The same, by both names, alternating so that each reads what the other wrote.
    pub(crate) fn good(&self, words: &[&str]) -> String {
        let said = if words.concat().len() % 2 == 0 { self.tx(words) } else { self.pvtx(words) };
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}: {said:?}");
        said.out
    }

    pub(crate) fn state(&self, name: &str, state: &Value) -> String {
        std::fs::write(self.path(name), state.to_string()).unwrap();
        self.at(name)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let state: Value = serde_json::from_str(&self.good(&["show"])).unwrap();
        state.as_object().unwrap().keys().filter(|key| *key != "#spec").cloned().collect()
    }

    fn status(&self) -> Vec<u8> {
        std::fs::read(self.path("tx/.status")).unwrap()
    }
}

fn spec() -> Value {
    json!({"#spec": "pantavisor-service-system@1"})
}

pub(crate) fn state(keys: &[&str]) -> Value {
    let mut state = spec();
    for key in keys {
        state[key] = if key.ends_with(".json") { json!({"at": key}) } else { json!(digest(key.as_bytes())) };
    }
    state
}

/// As the field's tools sign a container: with its configuration, without how it was made.
fn signed(mut state: Value, name: &str) -> Value {
    let protected = json!({"alg": "ES256", "typ": "PVS", "pvs": {
        "include": [format!("{name}/**"), format!("_config/{name}/**")],
        "exclude": [format!("{name}/src.json"), format!("_sigs/{name}.json")],
    }});
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for piece in protected.to_string().as_bytes().chunks(3) {
        let held =
            piece.iter().fold(0, |held, byte| held << 8 | usize::from(*byte)) << (8 * (3 - piece.len()));
        text.extend((0..=piece.len()).map(|place| char::from(digits[held >> (18 - 6 * place) & 63])));
    }
    state[format!("_sigs/{name}.json")] = json!({"#spec": "pvs@2", "protected": text, "signature": "AAAA"});
    state
}

#[test]
fn a_remote_transaction_ends_as_a_revision_on_the_device() {
    let device = Device::new();
    let bench = Bench::beside(&device.socket("host"));
    bench.good(&["begin", "empty"]);
    let package = package(bench.folder.path(), good_members);
    bench.good(&["add", package.to_str().unwrap()]);
    assert!(device.store.has_object(&digest(IMAGE).parse().unwrap()));
    let shown = bench.good(&["show"]);
    assert!(shown.starts_with(r##"{"#spec":"pantavisor-service-system@1","web/"##), "{shown}");
    // The same again changes nothing.
    bench.good(&["add", package.to_str().unwrap()]);
    assert_eq!(bench.good(&["show"]), shown);
    let name = bench.good(&["commit"]);
    let words: Vec<&str> = name.trim_end().split('-').collect();
    assert_eq!((words.len(), words[0]), (4, "locals/pvtx"), "{name}");
    assert!(words[1].parse::<u64>().unwrap() > 1_600_000_000);
    assert_eq!(words[2], &digest(shown.trim_end().as_bytes())[..8]);
    assert_eq!(device.store.state_bytes(&id(name.trim_end())).unwrap(), shown.trim_end().as_bytes());
    assert_eq!(bench.status()[..4], 4i32.to_ne_bytes());
    // Nothing is under way any more; the next one gets the name it asks for.
    assert_eq!(bench.tx(&["show"]).code, 11);
    bench.good(&["begin", &bench.state("base.json", &state(&["a/x.json"]))]);
    assert_eq!(bench.good(&["commit", "locals/mine"]), "locals/mine\n");
    assert_eq!(bench.pvtx(&["begin", "empty"]).code, 0);
    assert_eq!(bench.tx(&["commit", "17"]).code, 2);
}

#[test]
fn a_package_comes_on_standard_input_packed_or_not() {
    let bench = Bench::new();
    let plain = std::fs::read(package(bench.folder.path(), good_members)).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &plain).unwrap();
    bench.good(&["begin", "empty", &bench.at("objects")]);
    for bytes in [plain, packed.finish().unwrap()] {
        let mut adding =
            bench.with_place(command()).args(["tx", "add", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut adding.stdin.take().unwrap(), &bytes).unwrap();
        assert!(adding.wait().unwrap().success());
        assert_eq!(bench.keys().len(), 3);
    }
    let left: Vec<_> =
        std::fs::read_dir(bench.path("tx")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == ".package"), "{left:?}");
}

#[test]
fn a_local_transaction_ends_as_a_revision_s_folder() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let (objects, trail) = (bench.at("objects"), bench.at("trails/0"));
    std::fs::create_dir(bench.path("trails")).unwrap();
    bench.good(&["begin", "empty", &objects]);
    let package = package(bench.folder.path(), good_members);
    bench.good(&["add", package.to_str().unwrap()]);
    let kernel = json!({"#spec": "pantavisor-service-system@1",
        "bsp/run.json": {"linux": "kernel.img", "initrd": "initrd.img", "fdt": "board.dtb"},
        "bsp/kernel.img": digest(b"k"), "bsp/initrd.img": digest(b"i"), "bsp/board.dtb": digest(b"d")});
    for bytes in [b"k", b"i", b"d"] {
        std::fs::write(bench.path("objects").join(digest(bytes)), bytes).unwrap();
    }
    bench.good(&["add", &bench.state("bsp.json", &kernel)]);
    let shown = bench.good(&["show"]);
    assert_eq!(bench.tx(&["commit"]).code, 12);
    bench.good(&["deploy", &trail]);
    let read = |name: &str| std::fs::read(Path::new(&trail).join(name)).unwrap();
    assert_eq!(read(".pvr/json"), shown.trim_end().as_bytes());
    assert_eq!(read(".pvr/config"), json!({"ObjectsDir": objects}).to_string().as_bytes());
    assert_eq!((read("web/lxc.container.conf"), read("web/root.squashfs")), (CONF.to_vec(), IMAGE.to_vec()));
    assert_eq!(
        (read(".pv/pv-kernel.img"), read(".pv/pv-initrd.img"), read(".pv/pv-fdt.dtb")),
        (b"k".to_vec(), b"i".to_vec(), b"d".to_vec())
    );
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    assert_eq!(
        inode(&Path::new(&trail).join("web/root.squashfs")),
        inode(&bench.path("objects").join(digest(IMAGE)))
    );
    assert_eq!(bench.status()[..4], 5i32.to_ne_bytes());
    assert_eq!(bench.tx(&["deploy", &trail]).code, 11);
    // Over an older one, whose configuration stays.
    std::fs::write(Path::new(&trail).join(".pvr/config"), "{}").unwrap();
    bench.good(&["begin", &trail, &objects]);
    bench.good(&["remove", "web"]);
    bench.good(&["deploy", &format!("{trail}/")]);
    assert_eq!(read(".pvr/config"), b"{}");
    assert!(!Path::new(&trail).join("web").exists());
    assert_eq!(std::fs::read_dir(bench.path("trails")).unwrap().count(), 1);
}

#[test]
fn a_trail_whose_objects_are_missing_or_damaged_is_not_written() {
    let bench = Bench::new();
    let (objects, trail) = (bench.at("objects"), bench.at("trail"));
    std::fs::create_dir(bench.path("objects")).unwrap();
    std::fs::create_dir(bench.path("trail")).unwrap();
    std::fs::write(bench.path("trail/old"), "").unwrap();
    bench.good(&["begin", "empty", &objects]);
    bench.good(&["add", &bench.state("a.json", &state(&["web/root"]))]);
    let said = bench.tx(&["deploy", &trail]);
    assert!(said.code == 1 && said.err.contains("No such file"), "{said:?}");
    std::fs::write(bench.path("objects").join(digest(b"web/root")), "other").unwrap();
    let said = bench.pvtx(&["deploy", &trail]);
    assert!(said.code == 255 && said.err.contains("do not have the sha256"), "{said:?}");
    assert!(bench.path("trail/old").exists());
}

#[test]
fn parts_come_and_go_with_what_their_signatures_cover() {
    let bench = Bench::new();
    let base =
        ["nginx/run.json", "nginx/src.json", "_config/nginx/a", "nginx-more/run.json", "other/run.json"];
    let file = bench.state("base.json", &signed(state(&base), "nginx"));
    let rest = ["nginx-more/run.json", "other/run.json"];
    for part in ["nginx", "_config/nginx", "_sigs/nginx.json"] {
        bench.good(&["begin", &file, &bench.at("objects")]);
        bench.good(&["remove", part]);
        assert_eq!(bench.keys(), rest, "{part}");
        bench.good(&["abort"]);
    }
    bench.good(&["begin", &file, &bench.at("objects")]);
    // A new version without its configuration and without its source.
    let newer =
        bench.state("newer.json", &signed(state(&["nginx/run.json", "nginx/root.squashfs"]), "nginx"));
    bench.good(&["add", &newer]);
    assert_eq!(
        bench.keys(),
        [
            "_sigs/nginx.json",
            "nginx-more/run.json",
            "nginx/root.squashfs",
            "nginx/run.json",
            "other/run.json"
        ]
    );
    // What is not there is not there afterwards either.
    bench.good(&["remove", "nobody"]);
    bench.good(&["abort"]);
    let plain = bench.state("plain.json", &state(&base));
    bench.good(&["begin", &plain, &bench.at("objects")]);
    bench.good(&["remove", "nginx"]);
    assert_eq!(bench.keys(), ["_config/nginx/a", "nginx-more/run.json", "other/run.json"]);
}

#[test]
fn each_exit_code_and_text_is_the_field_s() {
    let bench = Bench::new();
    let none = "no active transaction. Start a transaction first.";
    let not_found = "sub command not found: frob\nplease use 'help' to find the right sub command";
    for (words, code, text) in [
        (&["add", "x"][..], 1, format!("ERROR: add: {none}\n")),
        (&["remove", "x"], 3, format!("ERROR: remove: {none}\n")),
        (&["show"], 11, format!("ERROR: show: {none}\n")),
        (&["commit"], 11, format!("ERROR: commit: {none}\n")),
        (&["deploy", "x"], 11, format!("ERROR: deploy: {none}\n")),
        (&["add"], 255, "ERROR: add: missing argument, file or - is needed\n".into()),
        (&["remove"], 4, "ERROR: remove: must supply a part name\n".into()),
        (&["deploy"], 1, "ERROR: deploy: missing deploy folder\n".into()),
        (&["queue", "new"], 1, "ERROR: queue new: queue argument is required\n".into()),
        (&["queue", "new", "q"], 1, "ERROR: queue new: objects argument is required\n".into()),
        (&["queue", "remove", "x"], 1, "ERROR: queue remove: queue  does not exist\n".into()),
        (&["queue", "frob"], 255, format!("ERROR: command process: {not_found}\n")),
        (&["frob"], 255, format!("ERROR: command process: {not_found}\n")),
        (&["abort"], 0, String::new()),
        (&["begin", "/none-such"], 255, "ERROR: begin: no state JSON found at '/none-such'; expected a revision directory or a json file\n".into()),
    ] {
        let said = bench.pvtx(words);
        assert_eq!((said.code, said.err, said.out.as_str()), (code, text, ""), "{words:?}");
    }
    for (words, code) in [
        (&["add", "x"][..], 1),
        (&["remove", "x"], 3),
        (&["show"], 11),
        (&["commit"], 11),
        (&["deploy", "x"], 11),
    ] {
        assert_eq!(bench.tx(words).code, code, "{words:?}");
    }
    for (words, code) in [(&["help"][..], 0), (&["--help"], 0), (&[], 255)] {
        let said = bench.pvtx(words);
        assert!(said.code == code && said.out.starts_with("Usage: pvtx COMMAND"), "{said:?}");
    }
    bench.good(&["begin", "empty", &bench.at("objects")]);
    assert_eq!(bench.pvtx(&["begin", "empty"]).code, 255);
    assert_eq!(bench.pvtx(&["commit"]).code, 12);
    assert_eq!(bench.pvtx(&["queue", "new", &bench.at("q"), &bench.at("objects")]).code, 12);
    bench.good(&["abort"]);
    bench.good(&["begin", "empty"]);
    assert_eq!(bench.pvtx(&["deploy", &bench.at("x")]).code, 255);
    // No agent is there to take it.
    let said = bench.tx(&["commit"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert_eq!(bench.keys(), [""; 0]);
}

#[test]
fn a_status_is_as_the_field_s_tools_write_it() {
    let bench = Bench::new();
    bench.good(&["begin", "empty", "/some/objects"]);
    let status = bench.status();
    assert_eq!(status.len(), 4104);
    assert_eq!((&status[..4], &status[4..8]), (&2i32.to_ne_bytes()[..], &1i32.to_ne_bytes()[..]));
    assert_eq!(&status[8..22], b"/some/objects\0");
    bench.good(&["abort"]);
    assert!(!bench.path("tx/.status").exists() && !bench.path("tx/current.json").exists());
    // One that another program wrote.
    let mut status = vec![0; 4104];
    status[..4].copy_from_slice(&2i32.to_ne_bytes());
    std::fs::write(bench.path("tx/.status"), &status).unwrap();
    std::fs::write(bench.path("tx/current.json"), state(&["web/run.json"]).to_string()).unwrap();
    assert_eq!(bench.keys(), ["web/run.json"]);
    // And one that nobody wrote.
    std::fs::write(bench.path("tx/.status"), "noise").unwrap();
    let said = bench.tx(&["show"]);
    insta::assert_snapshot!(without(&said.err, bench.folder.path()), @"goalctl: failed to read [folder]/tx/.status: not the status of a transaction; 'abort' clears it");
    bench.good(&["abort"]);
    bench.good(&["begin", "empty"]);
}

#[test]
fn a_queue_is_carried_out_in_its_order() {
    let bench = Bench::new();
    let (queue, objects) = (bench.at("queue"), bench.at("objects"));
    bench.good(&["queue", "new", &queue, &objects]);
    let package = package(bench.folder.path(), good_members);
    bench.good(&["queue", "unpack", package.to_str().unwrap()]);
    bench.good(&["queue", "remove", "_config/nginx"]);
    let mut unpacking = bench
        .with_place(command())
        .args(["tx", "queue", "unpack", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut unpacking.stdin.take().unwrap(),
        state(&["late/run.json"]).to_string().as_bytes(),
    )
    .unwrap();
    assert!(unpacking.wait().unwrap().success());
    let mut steps: Vec<_> =
        std::fs::read_dir(&queue).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    steps.sort();
    assert_eq!(steps, ["000__package.tar", "001___config%2Fnginx.remove", "002__package"]);
    assert_eq!(std::fs::metadata(bench.path("queue/001___config%2Fnginx.remove")).unwrap().len(), 0);
    assert!(bench.path("objects").join(digest(IMAGE)).exists());
    assert_eq!(bench.status().len(), 8208);
    assert_eq!(bench.status()[8200..8204], 3i32.to_ne_bytes());
    assert_eq!(bench.pvtx(&["queue", "process"]).code, 3);
    let base =
        bench.state("base.json", &state(&["_config/nginx/a", "web/old.json", "late/old.json", "kept.json"]));
    bench.good(&["begin", &base]);
    bench.good(&["queue", "process"]);
    let keys = ["kept.json", "late/run.json", "web/lxc.container.conf", "web/root.squashfs", "web/run.json"];
    assert_eq!(bench.keys(), keys);
    bench.good(&["abort"]);
    // In one go, with a step that another tool left, its object inside.
    let step = bench.path("queue/003__more");
    std::fs::create_dir_all(step.join("objects")).unwrap();
    std::fs::write(step.join("json"), state(&["more/file"]).to_string()).unwrap();
    std::fs::write(step.join("objects").join(digest(b"more/file")), "more/file").unwrap();
    bench.good(&["queue", "process", &base, &queue, &objects]);
    assert_eq!(bench.keys().len(), keys.len() + 1);
    bench.good(&["deploy", &bench.at("trail")]);
    assert_eq!(std::fs::read(bench.path("trail/more/file")).unwrap(), b"more/file");
}

#[test]
fn a_hostile_package_changes_nothing() {
    let bench = Bench::new();
    bench.good(&["begin", "empty", &bench.at("objects")]);
    let before = (bench.good(&["show"]), bench.status());
    let evil = package(bench.folder.path(), |tar| {
        good_members(tar);
        add(tar, "../../etc/x", EntryType::Regular, b"x");
    });
    let said = bench.pvtx(&["add", evil.to_str().unwrap()]);
    assert!(said.code == 255 && said.err.starts_with("ERROR: add: failed to read "), "{said:?}");
    let escaping = json!({"#spec": "pantavisor-service-system@1", "a/../../x.json": {}});
    assert_eq!(bench.tx(&["add", &bench.state("evil.json", &escaping)]).code, 1);
    assert_eq!((bench.good(&["show"]), bench.status()), before);
    assert!(!bench.path("objects").exists());
}

#[test]
fn runs_at_the_same_time_lose_nothing_of_each_other() {
    let bench = Bench::new();
    bench.good(&["begin", "empty", &bench.at("objects")]);
    let names: Vec<String> = (0..12).map(|number| format!("part{number:02}/run.json")).collect();
    let adding = names.iter().map(|name| {
        let file = bench.state(&name.replace('/', "-"), &state(&[name]));
        bench.with_place(command()).args(["tx", "add", &file]).spawn().unwrap()
    });
    for mut run in adding.collect::<Vec<_>>() {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(bench.keys(), names);
}
