//! The store on a real disk: what is kept, what is refused, what a collection takes.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests say what went wrong by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::digest;
use agent::store::{Keep, Store};
use model::durable::Durable;
use model::ids::{Digest, RevisionId};
use model::progress::{Progress, UpdateStatus};
use model::report::FailureKind;

fn opened() -> (tempfile::TempDir, Arc<Store>) {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(root.path()).unwrap());
    (root, store)
}

fn id(name: &str) -> RevisionId {
    name.parse().unwrap()
}

fn bring(store: &Arc<Store>, bytes: &[u8]) -> Digest {
    let digest = digest::of(bytes);
    let mut writer = store.put_object(digest).unwrap();
    bytes.chunks(3).for_each(|chunk| writer.write(chunk).unwrap());
    writer.finish().unwrap();
    digest
}

/// A state of one data container, whose image is `image`.
fn state(image: Digest) -> String {
    format!(
        r##"{{"#spec": "pantavisor-service-system@1", "data/run.json": {{"#spec": "service-manifest-run@1", "name": "data", "root-volume": "root.squashfs"}}, "data/root.squashfs": "{image}"}}"##
    )
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_posted_revision_lies_on_disk_as_the_format_says() {
    use std::os::unix::fs::MetadataExt;
    let (root, store) = opened();
    let image = bring(&store, b"an image");
    store.install(&id("locals/x"), state(image).as_bytes()).unwrap();
    let trail = root.path().join("trails/locals/x");
    assert_eq!(std::fs::read(trail.join(".pvr/json")).unwrap(), state(image).into_bytes());
    let object = std::fs::metadata(root.path().join(format!("objects/{image}"))).unwrap();
    assert_eq!(std::fs::metadata(trail.join("data/root.squashfs")).unwrap().ino(), object.ino());
    assert_eq!(object.mode() & 0o7777, 0o644);
    let run = std::fs::read_to_string(trail.join("data/run.json")).unwrap();
    assert_eq!(
        run,
        r##"{"#spec": "service-manifest-run@1", "name": "data", "root-volume": "root.squashfs"}"##
    );
    assert_eq!(store.step(&id("locals/x")).unwrap().progress.unwrap().status, UpdateStatus::New);
    assert_eq!(store.verify(&id("locals/x")).unwrap().containers().len(), 1);
    store.write_progress(&id("locals/x"), &Progress::new(UpdateStatus::Done, "Factory revision")).unwrap();
    store.set_current(&id("locals/x")).unwrap();
    store.write_commit_message(&id("locals/x"), "why").unwrap();
    assert_eq!(names(&trail.join(".pv")), ["commitmsg", "done", "progress"]);
    assert_eq!(std::fs::read_link(root.path().join("trails/current")).unwrap(), Path::new("locals/x"));
    assert_eq!(store.current(), Some(id("locals/x")));
    assert_eq!(store.steps().unwrap()[0].commit_message, "why");
    assert_eq!(names(&root.path().join("objects")), [image.to_string()]);
}

#[test]
fn an_object_with_the_wrong_hash_is_refused_without_a_trace() {
    let (root, store) = opened();
    let mut writer = store.put_object(digest::of(b"right")).unwrap();
    writer.write(b"wrong").unwrap();
    assert_eq!(writer.finish().unwrap_err().kind, FailureKind::Corrupt);
    drop(store.put_object(digest::of(b"right")).unwrap());
    assert!(names(&root.path().join("objects")).is_empty());
}

#[test]
fn a_revision_whose_objects_are_missing_or_damaged_is_named_and_can_be_mended() {
    let (root, store) = opened();
    let image = digest::of(b"an image");
    store.install(&id("1"), state(image).as_bytes()).unwrap();
    let failure = store.verify(&id("1")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert_eq!(*failure.detail, *format!("verify revision 1: missing: data/root.squashfs ({image})"));
    let absent = store.load_present(&id("1")).unwrap_err();
    assert_eq!((absent.kind, absent.detail), (FailureKind::Missing, failure.detail));
    bring(&store, b"an image");
    store.verify(&id("1")).unwrap();
    store.load_present(&id("1")).unwrap();

    std::fs::write(root.path().join(format!("objects/{image}")), b"an imagE").unwrap();
    let failure = store.verify(&id("1")).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert!(failure.detail.contains(&image.to_string()));
    assert!(!store.has_object(&image));
    bring(&store, b"an image");
    store.verify(&id("1")).unwrap();
    assert_eq!(store.verify(&id("2")).unwrap_err().kind, FailureKind::Missing);
}

#[test]
fn a_state_that_cannot_be_files_is_refused_and_leaves_what_was_there() {
    let (root, store) = opened();
    let image = bring(&store, b"an image");
    store.install(&id("1"), state(image).as_bytes()).unwrap();
    for bad in [r#"{"a.json":1,"a.json/b.json":2}"#, r#"{"../a.json":1}"#, "{", ""] {
        assert_eq!(store.install(&id("1"), bad.as_bytes()).unwrap_err().kind, FailureKind::Permanent);
    }
    assert_eq!(store.state_bytes(&id("1")).unwrap(), state(image).into_bytes());
    assert_eq!(names(&root.path().join("trails")), ["1", "locals"]);
}

#[test]
fn a_second_post_takes_the_place_of_the_first() {
    let (root, store) = opened();
    let (one, other) = (bring(&store, b"one"), bring(&store, b"other"));
    store.install(&id("locals/x"), state(one).as_bytes()).unwrap();
    let disk = store.revision_disk(&id("locals/x"), &"data".parse().unwrap(), "v").unwrap();
    std::fs::write(disk.join("of-the-first"), b"").unwrap();
    store.install(&id("locals/x"), state(other).as_bytes()).unwrap();
    assert_eq!(store.state_bytes(&id("locals/x")).unwrap(), state(other).into_bytes());
    assert!(!disk.exists());
    assert_eq!(names(&root.path().join("trails")), ["locals"]);
}

#[test]
fn a_store_has_one_agent_at_a_time() {
    let (root, store) = opened();
    let failure = Store::open(root.path()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied);
    assert!(failure.detail.ends_with("another agent uses this store"));
    drop(store);
    Store::open(root.path()).unwrap();
}

#[test]
fn either_copy_of_durable_may_be_torn_or_lost() {
    let (root, store) = opened();
    assert_eq!(store.load_durable().unwrap(), None);
    let mut durable = Durable::factory();
    for saves in 1..4 {
        durable.unsettled_starts = saves;
        store.save_durable(&durable).unwrap();
        assert_eq!(store.load_durable().unwrap().as_ref(), Some(&durable));
    }
    drop(store);
    let copies = ["durable/0", "durable/1"].map(|path| root.path().join(path));
    let whole = copies.clone().map(|path| std::fs::read(path).unwrap());
    let reopened = || Store::open(root.path()).unwrap().load_durable();
    for (damaged, kept) in [(0, 1), (1, 0)] {
        for cut in [0, 1, 40, whole[damaged].len() / 2] {
            std::fs::write(&copies[kept], &whole[kept]).unwrap();
            std::fs::write(&copies[damaged], &whole[damaged][..cut]).unwrap();
            if cut < 400 {
                assert!((2..=3).contains(&reopened().unwrap().unwrap().unsettled_starts));
            }
        }
        std::fs::remove_file(&copies[damaged]).unwrap();
        assert!((2..=3).contains(&reopened().unwrap().unwrap().unsettled_starts));
        // Saving goes on from the whole one.
        let store = Store::open(root.path()).unwrap();
        durable.unsettled_starts = 9;
        store.save_durable(&durable).unwrap();
        assert_eq!(store.load_durable().unwrap().unwrap().unsettled_starts, 9);
    }
    copies.iter().for_each(|path| std::fs::write(path, b"torn").unwrap());
    let failure = reopened().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Corrupt);
    assert!(failure.detail.contains("neither copy is whole"));
}

#[test]
fn a_collection_takes_what_nobody_needs_and_nothing_else() {
    let (root, store) = opened();
    let install = |name: &str, text: &[u8], status| {
        let image = bring(&store, text);
        store.install(&id(name), state(image).as_bytes()).unwrap();
        store.write_progress(&id(name), &Progress::new(status, "")).unwrap();
        image
    };
    let kept = install("1", b"kept", UpdateStatus::Done);
    let gone = install("locals/gone", &[7; 100_000], UpdateStatus::Error);
    let posted = install("locals/posted", b"posted", UpdateStatus::New);
    let running = install("3", b"running", UpdateStatus::Done);
    store.set_current(&id("3")).unwrap();
    let fresh = bring(&store, b"fresh");
    store.revision_disk(&id("locals/gone"), &"data".parse().unwrap(), "v").unwrap();
    store.revision_disk(&id("77"), &"data".parse().unwrap(), "v").unwrap();

    let mut keep = Keep::new(BTreeSet::from([id("1")]));
    let arriving = store.put_object(digest::of(b"x")).unwrap();
    assert_eq!(store.collect(&keep).unwrap_err().kind, FailureKind::Transient);
    drop(arriving);
    store.collect(&keep).unwrap();
    assert_eq!(names(&root.path().join("trails")), ["1", "3", "current", "locals"]);
    assert_eq!(names(&root.path().join("trails/locals")), ["posted"]);
    assert!(names(&root.path().join("disks/rev")).iter().all(|name| name == "locals"));
    assert_eq!(store.objects().unwrap().len(), 5, "objects are fresh");

    keep.fresh = Duration::ZERO;
    assert!(store.collect(&keep).unwrap() >= 100_000);
    let left: BTreeSet<_> = store.objects().unwrap().iter().map(|object| object.digest).collect();
    assert_eq!(left, BTreeSet::from([kept, posted, running]));
    assert!(!store.has_object(&gone) && !store.has_object(&fresh));
    keep.posted = Duration::ZERO;
    store.collect(&keep).unwrap();
    assert_eq!(store.steps().unwrap().len(), 2);
    store.verify(&id("1")).unwrap();
    store.verify(&id("3")).unwrap();
}

/// A small disk of its own, gone with the value.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(options: &str) -> Option<Tmpfs> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: mounting a small disk needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(None::<&str>, folder.path(), Some("tmpfs"), flags, Some(options)).unwrap();
        Some(Tmpfs(folder))
    }

    fn make_read_only(&self) {
        let flags = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
        nix::mount::mount(None::<&str>, self.0.path(), None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_is_told_and_decisions_are_still_saved() {
    let Some(disk) = Tmpfs::mount("size=256k") else { return };
    let store = Arc::new(Store::open(disk.0.path()).unwrap());
    let mut durable = Durable::factory();
    store.save_durable(&durable).unwrap();
    let image = bring(&store, b"an image");
    store.install(&id("1"), state(image).as_bytes()).unwrap();
    let large = digest::of(&[1; 1 << 20]);
    let mut writer = store.put_object(large).unwrap();
    let failure = (0..16).find_map(|_| writer.write(&[1; 1 << 16]).err()).unwrap();
    assert_eq!(failure.kind, FailureKind::NoSpace);
    assert!(failure.detail.contains("No space left on device"), "{}", failure.detail);
    // Whatever the upload took is still taken: nothing new fits.
    let _ = std::fs::write(disk.0.path().join("filler"), [0; 1 << 16]);
    assert_eq!(store.install(&id("2"), state(image).as_bytes()).unwrap_err().kind, FailureKind::NoSpace);
    for starts in 1..9 {
        durable.unsettled_starts = starts;
        store.save_durable(&durable).unwrap();
    }
    drop((writer, store));
    let store = Arc::new(Store::open(disk.0.path()).unwrap());
    assert_eq!(store.load_durable().unwrap(), Some(durable));
    store.verify(&id("1")).unwrap();
    assert!(!store.has_object(&large));
    assert_eq!(names(&disk.0.path().join("trails")), ["1", "locals"]);
}

#[test]
fn what_was_cut_off_makes_way_for_what_needs_its_room() {
    let Some(disk) = Tmpfs::mount("size=4m") else { return };
    let store = Arc::new(Store::open(disk.0.path()).unwrap());
    let image = bring(&store, b"an image");
    let (large, part) = (vec![1; 1 << 20], vec![2; 3 << 19]);
    let cut_off = digest::of(b"whatever");
    let bring_large = || {
        let mut writer = store.put_object(digest::of(&large)).unwrap();
        writer.write(&large).unwrap();
        writer.finish().unwrap();
    };
    let install = || store.install(&id("1"), state(image).as_bytes()).unwrap();
    for needs_room in [&install as &dyn Fn(), &bring_large] {
        let mut writer = store.put_object(cut_off).unwrap();
        writer.write(&part).unwrap();
        drop(writer);
        assert_eq!(store.partial_size(&cut_off), Some(part.len() as u64));
        let _ = std::fs::write(disk.0.path().join("filler"), vec![0; 4 << 20]).unwrap_err();
        needs_room();
        assert_eq!(store.partial_size(&cut_off), None);
        std::fs::remove_file(disk.0.path().join("filler")).unwrap();
    }
    store.verify(&id("1")).unwrap();
}

#[test]
fn the_longest_of_what_was_cut_off_is_kept_until_the_object_is_there() {
    let (root, store) = opened();
    let image: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    let digest = digest::of(&image);
    let begun = |bytes: usize| {
        let mut writer = store.put_object(digest).unwrap();
        writer.write(&image[..bytes]).unwrap();
        writer
    };
    let (late, whole) = (begun(2 << 20), begun(3 << 20));
    drop(begun(1 << 20));
    assert_eq!(store.partial_size(&digest), Some(1 << 20));
    assert!(store.continue_object(digest, (1 << 20) + 1).unwrap().is_none());
    assert_eq!(store.partial_size(&digest), Some(1 << 20), "it is put back");
    whole.finish().unwrap();
    drop(late);
    assert_eq!(names(&root.path().join("objects")), [digest.to_string()]);
    drop(store);

    let left = |name: &str, bytes: usize| {
        let name = format!("objects/{name}{}", digest::of(b"x"));
        std::fs::write(root.path().join(name), &image[..bytes]).unwrap();
    };
    left(".new-3-", 1 << 20);
    left(".new-4-", 2 << 20);
    left(".new-5-", 1 << 20);
    left(".partial-", 3 << 19);
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.partial_size(&digest::of(b"x")), Some(2 << 20));
    assert_eq!(names(&root.path().join("objects")).len(), 2);
}

#[test]
fn a_nearly_full_disk_keeps_nothing_that_was_cut_off() {
    let Some(disk) = Tmpfs::mount("size=4m") else { return };
    let store = Arc::new(Store::open(disk.0.path()).unwrap());
    let (one, other) = (digest::of(b"one"), digest::of(b"other"));
    for (digest, bytes, kept) in [(one, 3 << 19, true), (other, 9 << 18, false)] {
        let mut writer = store.put_object(digest).unwrap();
        writer.write(&vec![1; bytes]).unwrap();
        drop(writer);
        assert_eq!(store.partial_size(&digest).is_some(), kept);
    }
    std::fs::write(disk.0.path().join("filler"), vec![0; 9 << 18]).unwrap();
    store.collect(&Keep::new(BTreeSet::default())).unwrap();
    assert_eq!(store.partial_size(&one), None, "a collection takes what is fresh, too");
}

#[test]
fn a_read_only_disk_is_read_and_each_write_is_refused() {
    let Some(disk) = Tmpfs::mount("size=1m") else { return };
    let store = Arc::new(Store::open(disk.0.path()).unwrap());
    store.save_durable(&Durable::factory()).unwrap();
    let image = bring(&store, b"an image");
    store.install(&id("1"), state(image).as_bytes()).unwrap();
    drop(store);
    disk.make_read_only();
    let store = Arc::new(Store::open(disk.0.path()).unwrap());
    assert_eq!(store.load_durable().unwrap(), Some(Durable::factory()));
    store.verify(&id("1")).unwrap();
    let outcomes = [
        store.save_durable(&Durable::factory()),
        store.install(&id("2"), state(image).as_bytes()),
        store.put_object(digest::of(b"x")).map(|_| ()),
        store.write_progress(&id("1"), &Progress::new(UpdateStatus::Done, "")),
        store.set_current(&id("1")),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind, FailureKind::Denied);
    }
}

#[test]
fn what_a_container_left_is_removed_however_deep_and_no_link_is_followed() {
    let (root, store) = opened();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("precious"), b"").unwrap();
    let disk = store.revision_disk(&id("5"), &"data".parse().unwrap(), "v").unwrap();
    std::os::unix::fs::symlink(outside.path(), disk.join("link")).unwrap();
    std::fs::create_dir(disk.join(".moved-1")).unwrap();
    let mut deep =
        nix::dir::Dir::open(&disk, nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty()).unwrap();
    for _ in 0..3000 {
        nix::sys::stat::mkdirat(&deep, "d", nix::sys::stat::Mode::S_IRWXU).unwrap();
        deep =
            nix::dir::Dir::openat(&deep, "d", nix::fcntl::OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty())
                .unwrap();
    }
    drop(deep);
    store.collect(&Keep::new(BTreeSet::new())).unwrap();
    assert!(names(&root.path().join("disks/rev")).is_empty());
    assert_eq!(names(outside.path()), ["precious"]);
}
