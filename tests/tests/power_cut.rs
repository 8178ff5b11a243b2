//! The store, cut between any two writes, with what was not synced lost, kept or torn; and with a disk that fails at any write.
//!
//! The store runs on a real folder and its seam tells every change. From that record the disk is rebuilt as it may be found
//! after a cut at each point, and a real store is opened on it.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests say what went wrong by panicking")]

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use agent::digest;
use agent::store::{Change, Keep, LEAST_PARTIAL, Meta, Store, Values};
use host::file::Witness;
use model::durable::Durable;
use model::ids::{Digest, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::report::{Failure, FailureKind};
use model::revision::Defaults;
use rustix::io::Errno;
use tests::cuts::change::{At, Change as Asked};
use tests::cuts::disk::{Disk, Hashes, lay_down};

/// A folder in memory where there is one: a sync there costs nothing.
fn small_disk() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Rebuilds the disk before every change, and lets the disk fail from some change on.
#[derive(Default)]
struct Recorder(Mutex<Recording>);

#[derive(Default)]
struct Recording {
    /// As the disk was before each change, and the changes' names.
    before: Vec<Disk>,
    names: Vec<String>,
    disk: Option<Disk>,
    /// Whether a sync is believed, and not done: what the checks must catch.
    lying: Lying,
    /// Changes that still go well, and what the rest fails with.
    failing: Option<(usize, Errno)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Lying {
    #[default]
    No,
    OfFiles,
    OfFolders,
}

impl Witness for Recorder {
    fn before(&self, change: Change<'_>) -> Result<(), Errno> {
        let mut recording = self.0.lock().unwrap();
        if let Some((left, errno)) = &mut recording.failing {
            if *left == 0 {
                return Err(*errno);
            }
            *left -= 1;
        }
        let mut disk = recording.disk.take().unwrap_or_default();
        recording.before.push(disk.clone());
        recording.names.push(format!("{change:.60?}"));
        let is_a_lie = match recording.lying {
            Lying::No => false,
            Lying::OfFiles => matches!(change, Change::SyncFile { .. }),
            Lying::OfFolders => matches!(change, Change::SyncFolder { .. }),
        };
        if !is_a_lie {
            carry_out_if_possible(&mut disk, change);
        }
        recording.disk = Some(disk);
        Ok(())
    }
}

/// A change that the kernel refuses (the folder exists, the object was linked already) changes nothing here either.
fn carry_out_if_possible(disk: &mut Disk, change: Change<'_>) {
    let is_possible = match change {
        Change::MakeFolder { path } | Change::Create { path } | Change::Symlink { path, .. } => {
            !disk.has(path)
        }
        Change::Link { from, to } => disk.has(from) && !disk.has(to),
        Change::Rename { from: path, .. } | Change::Remove { path } | Change::RemoveFolder { path } => {
            disk.has(path)
        }
        Change::Write { .. }
        | Change::SyncFile { .. }
        | Change::SyncFolder { .. }
        | Change::Touch { .. }
        | Change::Resize { .. }
        | Change::Exchange { .. } => true,
    };
    if is_possible {
        asked_of_the_kernel(change).iter().for_each(|change| disk.carry_out(change));
    }
}

fn asked_of_the_kernel(change: Change<'_>) -> Vec<Asked> {
    let length = |length: u64| usize::try_from(length).unwrap();
    match change {
        Change::MakeFolder { path } => vec![Asked::MakeFolder { path: path.into() }],
        Change::Create { path } => vec![Asked::Create { path: path.into() }],
        Change::Symlink { path, target } => {
            vec![Asked::Symlink { path: path.into(), target: target.into() }]
        }
        Change::Write { path, at, bytes } => {
            vec![Asked::Write { path: path.into(), at: At::Byte(length(at)), bytes: bytes.into() }]
        }
        Change::SyncFile { path } | Change::SyncFolder { path } => {
            vec![Asked::SyncBegins { path: path.into(), by: 0 }, Asked::SyncEnds { by: 0 }]
        }
        Change::Touch { .. } => Vec::new(),
        Change::Resize { path, length: new } => {
            let path = || path.into();
            vec![Asked::Create { path: path() }, Asked::Truncate { path: path(), length: length(new) }]
        }
        Change::Rename { from, to } => vec![Asked::Rename { from: from.into(), to: to.into() }],
        Change::Exchange { one, other } => {
            vec![Asked::Exchange { one: one.into(), other: other.into() }]
        }
        Change::Link { from, to } => vec![Asked::Link { from: from.into(), to: to.into() }],
        Change::Remove { path } | Change::RemoveFolder { path } => {
            vec![Asked::Remove { path: path.into() }]
        }
    }
}

struct Life {
    recorder: Arc<Recorder>,
    store: Arc<Store>,
    _root: tempfile::TempDir,
}

impl Life {
    fn begin() -> Life {
        let root = small_disk();
        let recorder = Arc::new(Recorder::default());
        let store = Store::open_with(root.path(), Defaults::default(), Some(recorder.clone())).unwrap();
        Life { recorder, store: Arc::new(store), _root: root }
    }

    /// Carries out `work`, then checks every disk that could be found after a cut in it (`cut`), and after it (`done`).
    fn cut_everywhere(
        &self,
        work: impl FnOnce(&Arc<Store>),
        cut: impl Fn(&Arc<Store>),
        done: impl Fn(&Arc<Store>),
    ) -> usize {
        let first = self.recorder.0.lock().unwrap().before.len();
        work(&self.store);
        let recording = self.recorder.0.lock().unwrap();
        let (mut hashes, mut seen) = (Hashes::default(), HashSet::new());
        let mut check = |disk: &Disk, when: &str, is_done: bool, check: &dyn Fn(&Arc<Store>)| {
            disk.after_a_cut(|draft, _, fate| {
                if seen.insert((is_done, draft.fingerprint(&mut hashes))) {
                    let place = small_disk();
                    lay_down(&draft.found(), place.path());
                    let _context = Context(format!("{when}, {fate}"));
                    check(&Arc::new(Store::open(place.path()).unwrap()));
                }
            });
        };
        for (disk, name) in recording.before[first..].iter().zip(&recording.names[first..]) {
            check(disk, &format!("cut before {name}"), false, &cut);
        }
        check(recording.disk.as_ref().unwrap(), "cut after all", true, &done);
        recording.before.len() - first
    }

    fn fail_after(&self, changes: usize, errno: Errno) {
        self.recorder.0.lock().unwrap().failing = Some((changes, errno));
    }

    fn heal(&self) {
        self.recorder.0.lock().unwrap().failing = None;
    }
}

/// Says where a check failed.
struct Context(String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed at: {}", self.0);
        }
    }
}

fn id(name: &str) -> RevisionId {
    name.parse().unwrap()
}

fn state(image: Digest) -> String {
    format!(
        r##"{{"#spec": "pantavisor-service-system@1", "data/run.json": {{"#spec": "service-manifest-run@1", "name": "data", "root-volume": "root.squashfs"}}, "data/root.squashfs": "{image}", "_config/data/etc/x": "{image}"}}"##
    )
}

fn bring(store: &Arc<Store>, bytes: &[u8]) -> Result<Digest, Failure> {
    let digest = digest::of(bytes);
    let mut writer = store.put_object(digest)?;
    writer.write(bytes)?;
    writer.finish()?;
    Ok(digest)
}

fn durable(starts: u32) -> Durable {
    Durable { unsettled_starts: starts, ..Durable::factory() }
}

fn starts(store: &Store) -> Option<u32> {
    store.load_durable().unwrap().map(|durable| durable.unsettled_starts)
}

#[test]
fn a_cut_save_leaves_the_former_or_the_new_decision() {
    let life = Life::begin();
    for save in 0..5 {
        let former = (save > 0).then(|| save - 1);
        let cuts = life.cut_everywhere(
            |store| store.save_durable(&durable(save)).unwrap(),
            |store| assert!([former, Some(save)].contains(&starts(store)), "{:?}", starts(store)),
            |store| assert_eq!(starts(store), Some(save)),
        );
        assert!(cuts >= 2);
    }
}

#[test]
fn a_cut_upload_leaves_no_object_or_a_whole_one() {
    let life = Life::begin();
    let digest = digest::of(b"an image");
    let whole = |store: &Store| {
        std::fs::read(store.object_path(&digest)).ok().is_none_or(|bytes| bytes == b"an image")
    };
    let cuts = life.cut_everywhere(
        |store| assert_eq!(bring(store, b"an image").unwrap(), digest),
        |store| assert!(whole(store)),
        |store| assert!(whole(store) && store.has_object(&digest)),
    );
    assert!(cuts >= 5);
}

/// A client that goes away, and comes again as often as it takes.
#[test]
fn a_cut_off_upload_goes_on_or_begins_anew() {
    let life = Life::begin();
    let least = usize::try_from(LEAST_PARTIAL).unwrap();
    let image: Vec<u8> = (0..=250).cycle().take(least + 100).collect();
    let digest = digest::of(&image);
    let ends_well = |store: &Arc<Store>| {
        if !store.has_object(&digest) && go_on(store, digest, &image, image.len()).is_err() {
            // What was here was damaged, and is gone.
            go_on(store, digest, &image, image.len()).unwrap();
        }
        assert_eq!(std::fs::read(store.object_path(&digest)).unwrap(), image);
    };
    let cuts = life.cut_everywhere(
        |store| {
            for until in [image.len() - 50, image.len() - 1, image.len()] {
                go_on(store, digest, &image, until).unwrap();
            }
        },
        ends_well,
        |store| assert!(store.has_object(&digest) && store.partial_size(&digest).is_none()),
    );
    assert!(cuts >= 12, "{cuts}");
}

/// Brings what is not there yet of it, as far as `until`.
fn go_on(store: &Arc<Store>, digest: Digest, bytes: &[u8], until: usize) -> Result<(), Failure> {
    let there = store.partial_size(&digest).map_or(0, |size| size.min(bytes.len() as u64 - 1));
    let mut writer = match there {
        0 => store.put_object(digest)?,
        _ => store.continue_object(digest, there)?.unwrap(),
    };
    writer.write(&bytes[usize::try_from(there).unwrap()..until])?;
    if until == bytes.len() { writer.finish() } else { Ok(()) }
}

#[test]
fn a_cut_install_leaves_no_revision_or_a_whole_one() {
    let life = Life::begin();
    let image = bring(&life.store, b"an image").unwrap();
    for revision in ["0", "locals/x"] {
        let whole = |store: &Store| {
            let verified = store.verify(&id(revision)).map(|_| ());
            if store.step(&id(revision)).is_some() { verified } else { Ok(()) }
        };
        let cuts = life.cut_everywhere(
            |store| store.install(&id(revision), state(image).as_bytes()).unwrap(),
            |store| whole(store).unwrap(),
            |store| drop(store.verify(&id(revision)).unwrap()),
        );
        assert!(cuts > 20);
    }
}

fn install_on_a_disk_that_lies(lying: Lying) {
    let life = Life::begin();
    let image = bring(&life.store, b"an image").unwrap();
    life.recorder.0.lock().unwrap().lying = lying;
    life.cut_everywhere(
        |store| store.install(&id("1"), state(image).as_bytes()).unwrap(),
        |_| {},
        |store| drop(store.verify(&id("1")).unwrap()),
    );
}

#[test]
#[should_panic(expected = "EOF while parsing")]
fn a_disk_that_lies_about_syncing_files_is_caught() {
    install_on_a_disk_that_lies(Lying::OfFiles);
}

#[test]
#[should_panic(expected = "kind: Missing")]
fn a_disk_that_lies_about_syncing_folders_is_caught() {
    install_on_a_disk_that_lies(Lying::OfFolders);
}

#[test]
fn a_cut_second_post_leaves_the_first_or_the_second_whole() {
    let life = Life::begin();
    let (one, other) = (bring(&life.store, b"one").unwrap(), bring(&life.store, b"other").unwrap());
    life.store.install(&id("locals/x"), state(one).as_bytes()).unwrap();
    let states = [state(one).into_bytes(), state(other).into_bytes()];
    life.cut_everywhere(
        |store| store.install(&id("locals/x"), &states[1]).unwrap(),
        |store| {
            store.verify(&id("locals/x")).unwrap();
            assert!(states.contains(&store.state_bytes(&id("locals/x")).unwrap()));
        },
        |store| assert_eq!(store.state_bytes(&id("locals/x")).unwrap(), states[1]),
    );
}

/// Each of two trails that may be there, each with every byte of it.
#[test]
fn a_cut_factory_leaves_the_former_or_the_new_one_whole() {
    let life = Life::begin();
    let (one, other) = (bring(&life.store, b"one").unwrap(), bring(&life.store, b"other").unwrap());
    let states = [state(one).into_bytes(), state(other).into_bytes()];
    let (factory, from, data) = (id("0"), id("locals/x"), "data".parse().unwrap());
    life.store.install(&from, &states[1]).unwrap();
    life.store.write_commit_message(&from, "better").unwrap();
    for former in [None, Some(&states[0])] {
        if let Some(state) = former {
            life.store.install(&factory, state).unwrap();
            life.store.revision_disk(&factory, &data, "v").unwrap();
        }
        let cuts = life.cut_everywhere(
            |store| store.make_factory(&from).unwrap(),
            |store| {
                store.verify(&from).unwrap();
                let Some(step) = store.step(&factory) else { return assert_eq!(former, None) };
                store.verify(&factory).unwrap();
                let found = store.state_bytes(&factory).unwrap();
                assert!(found == states[1] || Some(&found) == former);
                if step.progress.unwrap().status == UpdateStatus::Done {
                    assert_eq!((found, step.commit_message.as_str()), (states[1].clone(), "better"));
                    assert!(!store.root().join("disks/rev/0").exists());
                }
            },
            |store| {
                store.verify(&factory).unwrap();
                assert_eq!(store.state_bytes(&factory).unwrap(), states[1]);
                assert_eq!(store.progress(&factory).unwrap().message, "Factory revision");
                assert!(store.root().join("trails/0/.pv/done").exists());
                let trails = std::fs::read_dir(store.root().join("trails")).unwrap();
                let names = trails.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                assert!(names.into_iter().all(|name| !name.starts_with('.')), "the former one is gone");
                assert_eq!(std::fs::read_dir(store.root().join("disks/rev")).unwrap().count(), 0);
            },
        );
        assert!(cuts > 20);
    }
}

#[test]
fn a_cut_progress_leaves_the_former_or_the_new_document() {
    let life = Life::begin();
    let image = bring(&life.store, b"an image").unwrap();
    life.store.install(&id("1"), state(image).as_bytes()).unwrap();
    let (former, new) = (UpdateStatus::New, UpdateStatus::Done);
    life.cut_everywhere(
        |store| store.write_progress(&id("1"), &Progress::new(new, "m")).unwrap(),
        |store| assert!([former, new].contains(&store.progress(&id("1")).unwrap().status)),
        |store| assert_eq!(store.progress(&id("1")).unwrap().status, new),
    );
    life.cut_everywhere(
        |store| store.set_current(&id("1")).unwrap(),
        |store| assert!([None, Some(id("1"))].contains(&store.current())),
        |store| assert_eq!(store.current(), Some(id("1"))),
    );
}

#[test]
fn a_cut_collection_takes_nothing_that_is_kept_and_the_next_takes_the_rest() {
    let life = Life::begin();
    let (kept, gone) = (bring(&life.store, b"kept").unwrap(), bring(&life.store, b"gone").unwrap());
    life.store.install(&id("1"), state(kept).as_bytes()).unwrap();
    life.store.install(&id("2"), state(gone).as_bytes()).unwrap();
    life.store.write_progress(&id("2"), &Progress::new(UpdateStatus::Error, "m")).unwrap();
    life.store.revision_disk(&id("2"), &"data".parse().unwrap(), "v").unwrap();
    let mut keep = Keep::new(BTreeSet::from([id("1")]));
    (keep.fresh, keep.posted) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let whole = |store: &Store| {
        store.verify(&id("1")).unwrap();
        if store.step(&id("2")).is_some() {
            store.verify(&id("2")).unwrap();
        }
    };
    life.cut_everywhere(
        |store| assert!(store.collect(&keep).unwrap() > 0),
        |store| {
            whole(store);
            store.collect(&keep).unwrap();
            store.verify(&id("1")).unwrap();
            assert_eq!((store.steps().unwrap().len(), store.objects().unwrap().len()), (1, 1));
            assert_eq!(store.root().join("disks/rev").read_dir().unwrap().count(), 0);
        },
        |store| whole(store),
    );
}

#[test]
fn a_cut_change_of_metadata_leaves_the_former_or_the_new_value() {
    let life = Life::begin();
    let is = |value: &str| Values::from([("k".to_owned(), value.to_owned())]);
    for kind in Meta::ALL {
        for (former, new) in [("", "one"), ("one", "another, longer value"), ("another, longer value", "x")] {
            let former = if former.is_empty() { Values::new() } else { is(former) };
            let cuts = life.cut_everywhere(
                |store| store.put_meta(kind, "k", new, &former).unwrap(),
                |store| assert!([&former, &is(new)].contains(&&store.meta(kind).unwrap())),
                |store| assert_eq!(store.meta(kind).unwrap(), is(new)),
            );
            assert!(cuts >= 5);
        }
        life.cut_everywhere(
            |store| store.remove_meta(kind, "k").unwrap(),
            |store| assert!([is("x"), Values::new()].contains(&store.meta(kind).unwrap())),
            |store| assert_eq!(store.meta(kind).unwrap(), Values::new()),
        );
    }
}

/// One thing that writes, and can be tried again.
type Work = fn(&Arc<Store>) -> Result<(), Failure>;

#[test]
fn a_disk_that_fails_at_any_write_is_told_and_damages_nothing() {
    let works: [(&str, Work); 7] = [
        ("factory", |store| store.make_factory(&id("locals/x"))),
        ("save", |store| store.save_durable(&durable(2))),
        ("upload", |store| bring(store, b"more").map(|_| ())),
        ("install", |store| store.install(&id("locals/x"), state(digest::of(b"other")).as_bytes())),
        ("progress", |store| store.write_progress(&id("0"), &Progress::new(UpdateStatus::Done, "m"))),
        ("message", |store| store.write_commit_message(&id("0"), "m")),
        ("metadata", |store| store.put_meta(Meta::User, "k", "new", &Values::new())),
    ];
    for (errno, kind) in [
        (Errno::NOSPC, FailureKind::NoSpace),
        (Errno::ROFS, FailureKind::Denied),
        (Errno::IO, FailureKind::Transient),
    ] {
        for (name, work) in works {
            let mut failures = 0;
            for changes in 0.. {
                let life = Life::begin();
                let image = bring(&life.store, b"an image").unwrap();
                bring(&life.store, b"other").unwrap();
                life.store.install(&id("0"), state(image).as_bytes()).unwrap();
                life.store.install(&id("locals/x"), state(image).as_bytes()).unwrap();
                life.store.save_durable(&durable(1)).unwrap();
                life.fail_after(changes, errno);
                let outcome = work(&life.store);
                let whole = |store: &Store| {
                    store.verify(&id("0")).unwrap();
                    store.verify(&id("locals/x")).unwrap();
                    assert!([Some(1), Some(2)].contains(&starts(store)));
                };
                whole(&life.store);
                life.heal();
                let Err(failure) = outcome else { break };
                assert_eq!(failure.kind, kind, "{name} after {changes}: {}", failure.detail);
                failures += 1;
                work(&life.store).unwrap();
                whole(&life.store);
            }
            assert!(failures >= 2, "{name}");
        }
    }
}
