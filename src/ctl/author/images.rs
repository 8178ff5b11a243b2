//! What the formats of container images say, as far as it is read: indexes, manifests, configs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::author::members::wrong;
use crate::failed::Failed;

/// Of an index, a manifest, a config.
pub(crate) const LARGEST_DOCUMENT: u64 = 8 * 1024 * 1024;
/// As many layers as an overlay of the kernel could have.
pub(crate) const MOST_LAYERS: usize = 500;

pub(crate) const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

/// Points to a document or a layer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
}

/// An index (by its `manifests`) or a manifest (by its `layers`).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Document {
    Manifest { config: Descriptor, layers: Vec<Descriptor> },
    Index { manifests: Vec<Descriptor> },
}

/// A manifest in a `docker save` archive.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Saved {
    pub(crate) config: String,
    #[serde(default)]
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Vec<String>,
}

/// An image's config.
#[derive(Debug, Deserialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<Value>,
    pub(crate) rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RootFs {
    pub(crate) diff_ids: Vec<String>,
}

impl Platform {
    /// `OS/ARCHITECTURE[/VARIANT]`
    pub(crate) fn parse(text: &str) -> Result<Platform, Failed> {
        let words: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match words.as_slice() {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some((*variant).to_owned())),
            _ => {
                return Err(Failed::Usage {
                    text: format!("--platform {text}: use OS/ARCHITECTURE, such as linux/arm64"),
                });
            }
        };
        Ok(Platform { os: (*os).to_owned(), architecture: (*architecture).to_owned(), variant })
    }

    /// The machine this runs on, which is often not the device.
    pub(crate) fn own() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// A wish without a variant takes any.
    pub(crate) fn takes(&self, found: &Platform) -> bool {
        self.os == found.os
            && self.architecture == found.architecture
            && (self.variant.is_none() || self.variant == found.variant)
    }
}

impl Config {
    pub(crate) fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

/// The manifest for a platform. Where nobody wished for one, this machine's own, or the only one there is. The only one that says of
/// no platform is taken, too: its config says which it is for.
pub(crate) fn choose<'a>(
    name: &str,
    manifests: &'a [Descriptor],
    wish: Option<&Platform>,
) -> Result<&'a Descriptor, Failed> {
    // Attestations lie beside the images, for a platform that nobody has.
    let images: Vec<&Descriptor> = manifests
        .iter()
        .filter(|one| one.platform.as_ref().is_none_or(|platform| platform.os != "unknown"))
        .collect();
    let own = Platform::own();
    let fits = |one: &&&Descriptor| match &one.platform {
        Some(platform) => wish.unwrap_or(&own).takes(platform),
        None => false,
    };
    if let Some(fitting) = images.iter().find(fits) {
        return Ok(fitting);
    }
    if let [only] = images.as_slice()
        && (wish.is_none() || only.platform.is_none())
    {
        return Ok(only);
    }
    let there: Vec<String> =
        images.iter().filter_map(|one| one.platform.as_ref()).map(ToString::to_string).collect();
    let wish = wish.unwrap_or(&own);
    Err(wrong(name, &format!("it has no image for {wish}, but for: {}; use --platform", there.join(", "))))
}

/// An index or a manifest.
pub(crate) fn document(name: &str, bytes: &[u8]) -> Result<Document, Failed> {
    serde_json::from_slice(bytes).map_err(|cause| {
        let why = if cause.is_data() {
            "neither the manifest of an image (schema 2, or OCI) nor an index of some".to_owned()
        } else {
            cause.to_string()
        };
        wrong(name, &why)
    })
}

pub(crate) fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, Failed> {
    serde_json::from_slice(bytes).map_err(|cause| wrong(name, &cause.to_string()))
}
