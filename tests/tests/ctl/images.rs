//! Container images that tests make: layers member by member, written as a layout or as a docker archive.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::authoring::digest;
use crate::goalctl::{Said, command, said};

/// A tar being made, whose every name is taken as it is given.
pub(crate) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Tar {
        Tar(Builder::new(Vec::new()))
    }

    pub(crate) fn folder(self, path: &str) -> Tar {
        self.member(path, EntryType::Directory, 0o755, (0, 0), "", b"")
    }

    pub(crate) fn file(self, path: &str, bytes: &[u8]) -> Tar {
        self.member(path, EntryType::Regular, 0o644, (0, 0), "", bytes)
    }

    pub(crate) fn program(self, path: &str, bytes: &[u8]) -> Tar {
        self.member(path, EntryType::Regular, 0o755, (0, 0), "", bytes)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Tar {
        self.member(path, EntryType::Symlink, 0o777, (0, 0), target, b"")
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Tar {
        self.member(path, EntryType::Link, 0o644, (0, 0), target, b"")
    }

    pub(crate) fn member(
        mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        (uid, gid): (u64, u64),
        target: &str,
        bytes: &[u8],
    ) -> Tar {
        let mut header = Header::new_ustar();
        // The crate refuses to write what an attacker would.
        let ustar = header.as_ustar_mut().unwrap();
        ustar.name[..path.len()].copy_from_slice(path.as_bytes());
        ustar.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1_700_000_000);
        header.set_size(bytes.len().try_into().unwrap());
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
        self
    }

    /// A header of its own before the next member.
    pub(crate) fn records(self, records: &str) -> Tar {
        self.member("PaxHeaders/x", EntryType::XHeader, 0o644, (0, 0), "", records.as_bytes())
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// How the layers of a layout are packed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub(crate) fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Packing::Plain => bytes.to_vec(),
            Packing::Gzip => {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(bytes).unwrap();
                packed.finish().unwrap()
            }
            Packing::Zstd => {
                // In two frames, as packers that work in parallel write.
                let (one, two) = bytes.split_at(bytes.len() / 2);
                let pack = |bytes| {
                    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
                };
                [pack(one), pack(two)].concat()
            }
        }
    }
}

/// An image, with its layers as plain tars.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) config: Value,
    pub(crate) architecture: &'static str,
}

impl Image {
    pub(crate) fn new(layers: Vec<Vec<u8>>, config: Value) -> Image {
        Image { layers, config, architecture: "amd64" }
    }

    pub(crate) fn document(&self) -> Vec<u8> {
        let diffs: Vec<String> =
            self.layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
        json!({
            "os": "linux", "architecture": self.architecture, "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diffs},
        })
        .to_string()
        .into_bytes()
    }

    /// As `docker save` writes it.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let document = self.document();
        let config = format!("{}.json", digest(&document));
        let names: Vec<String> =
            (0..self.layers.len()).map(|number| format!("l{number}/layer.tar")).collect();
        let manifest = json!([{"Config": config, "RepoTags": ["test/web:1"], "Layers": names}]);
        let mut tar = Tar::new();
        for (name, layer) in names.iter().zip(&self.layers) {
            tar = tar.file(name, layer);
        }
        tar.file(&config, &document).file("manifest.json", manifest.to_string().as_bytes()).bytes()
    }

    /// As an OCI layout, in a folder.
    pub(crate) fn layout(&self, folder: &Path, packing: Packing) {
        let manifest = self.blobs(folder, packing);
        finish_layout(folder, &[manifest]);
    }

    /// Everything but the index; the answer is what the index says of it.
    pub(crate) fn blobs(&self, folder: &Path, packing: Packing) -> Value {
        let kind = match packing {
            Packing::Plain => "tar",
            Packing::Gzip => "tar+gzip",
            Packing::Zstd => "tar+zstd",
        };
        let config = blob(folder, "application/vnd.oci.image.config.v1+json", &self.document());
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| {
                blob(folder, &format!("application/vnd.oci.image.layer.v1.{kind}"), &packing.pack(layer))
            })
            .collect();
        let media = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": media, "config": config, "layers": layers});
        let mut descriptor = blob(folder, media, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({"os": "linux", "architecture": self.architecture});
        descriptor
    }
}

pub(crate) fn finish_layout(folder: &Path, manifests: &[Value]) {
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

pub(crate) fn blob(folder: &Path, media: &str, bytes: &[u8]) -> Value {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(digest(bytes)), bytes).unwrap();
    json!({"mediaType": media, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()})
}

/// A working folder of a test.
pub(crate) struct Author {
    folder: tempfile::TempDir,
}

impl Author {
    pub(crate) fn new() -> Author {
        let folder = tempfile::tempdir().unwrap();
        let author = Author { folder };
        assert_eq!(author.run(&["init", "."]).code, 0);
        author
    }

    /// The working folder.
    pub(crate) fn dir(&self) -> std::path::PathBuf {
        let dir = self.folder.path().join("dev");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Beside it.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A file beside the working folder.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        said(command().current_dir(self.dir()).args(arguments).output().unwrap())
    }

    /// `app add web --from SOURCE` that must go well.
    pub(crate) fn add(&self, source: &str, more: &[&str]) -> Said {
        let said = self.run(&[&["app", "add", "web", "--from", source], more].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said
    }

    /// What it says of a source that must be refused; nothing may be left behind.
    pub(crate) fn refusal(&self, source: &str, more: &[&str]) -> String {
        let said = self.run(&[&["app", "add", "web", "--from", source], more].concat());
        assert_eq!(said.code, 1, "{said:?}");
        assert!(!self.dir().join("web").exists());
        let mut left: Vec<_> = std::fs::read_dir(self.dir().join(".pvr"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["config", "json", "objects"], "{said:?}");
        said.err.replace(self.folder.path().to_str().unwrap(), "[folder]")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        std::fs::read(self.dir().join("web/root.squashfs")).unwrap()
    }

    /// What `unsquashfs` makes of the image: mode, owner, size or device, path.
    pub(crate) fn listing(&self) -> String {
        let image = self.dir().join("web/root.squashfs");
        let output = Command::new("unsquashfs").args(["-lln", "-UTC"]).arg(&image).output();
        let output = output.expect("unsquashfs is needed (Debian: squashfs-tools)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    }
}
