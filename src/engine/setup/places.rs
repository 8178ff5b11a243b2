//! Where things are on the device.

use alloc::format;
use alloc::string::{String, ToString};

use model::ids::{Digest, RevisionId};
use model::setup::Place;

/// Folders of the device, absolute, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Places {
    /// The store: `objects/`, `trails/`, `disks/`. A conf's `/storage`.
    pub store: String,
    /// What lasts until the device starts over.
    pub run: String,
    /// Where the launcher holds all containers' mounts: the `folder` it was started with.
    pub hold: String,
    /// A conf's `/exports`.
    pub exports: String,
    /// The control tool, to be shown in every container.
    pub goalctl: Option<String>,
}

impl Places {
    /// Where all containers' volumes are.
    pub(crate) fn volumes(&self) -> String {
        format!("{}/volumes/", self.hold)
    }

    /// A conf's `/volumes/<container>/<volume>`.
    pub fn volume(&self, container: &str, volume: &str) -> String {
        format!("{}/volumes/{container}/{volume}", self.hold)
    }

    /// A link to the loop device of an image.
    pub(crate) fn loop_device(&self, digest: &Digest) -> String {
        format!("{}/loops/{digest}", self.hold)
    }

    pub(crate) fn container_root(&self, container: &str) -> String {
        format!("{}/roots/{container}", self.hold)
    }

    /// A lowest layer for images that lack what every container needs.
    pub(crate) fn skeleton(&self, folder: &str) -> String {
        format!("{}/skeleton/{folder}", self.hold).trim_end_matches('/').to_string()
    }

    /// The folder that a container sees as `/pantavisor`.
    pub fn pantavisor(&self, container: &str) -> String {
        format!("{}/containers/{container}/pantavisor", self.run)
    }

    /// Where all metadata of a kind is shown.
    pub fn metadata(&self, kind: &str) -> String {
        format!("{}/meta/{kind}", self.run)
    }

    pub(crate) fn object(&self, digest: &Digest) -> String {
        format!("{}/objects/{digest}", self.store)
    }

    /// Where an image is unpacked, for an agent that cannot mount it.
    pub fn unpacked(&self, digest: &Digest) -> String {
        format!("{}/cache/unpacked/{digest}", self.store)
    }

    pub(crate) fn trail(&self, revision: &RevisionId, path: &str) -> String {
        format!("{}/trails/{}/{path}", self.store, revision.as_str())
    }

    pub(crate) fn permanent(&self, container: &str, key: &str) -> String {
        format!("{}/disks/perm/{container}/{key}", self.store)
    }

    pub(crate) fn of_revision(&self, revision: &RevisionId, container: &str, key: &str) -> String {
        format!("{}/disks/rev/{}/{container}/{key}", self.store, revision.as_str())
    }

    pub(crate) fn until_boot(&self, container: &str, key: &str) -> String {
        format!("{}/disks/boot/{container}/{key}", self.run)
    }

    /// A path as a conf names it. What containers can write to is resolved inside its volume.
    pub(crate) fn of_conf(&self, path: &str) -> Place {
        let place = |anchor: String, rest: &str| Place { anchor, path: rest.trim_matches('/').to_string() };
        let inside =
            |root: &str| path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some(rest) = inside("/volumes") {
            let mut names = rest.trim_matches('/').splitn(3, '/');
            let (container, volume) = (names.next().unwrap_or(""), names.next().unwrap_or(""));
            return place(self.volume(container, volume), names.next().unwrap_or(""));
        }
        if let Some(rest) = inside("/exports") {
            return place(self.exports.clone(), rest);
        }
        if let Some(rest) = inside("/storage") {
            return place(self.store.clone(), rest);
        }
        Place::of_device(path)
    }
}
