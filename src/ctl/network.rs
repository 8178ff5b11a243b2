//! The part of the command line that leads to a device over a network; `build.rs` reads it too.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct Network {
    #[cfg_attr(
        feature = "author",
        doc = "The device endpoint of another device, in place of a socket: for post, get, clone, diff --device, progress, events"
    )]
    #[cfg_attr(
        not(feature = "author"),
        doc = "The device endpoint of another device, in place of a socket: for post, get, progress, events"
    )]
    #[arg(long, global = true, help_heading = super::EVERYWHERE, value_name = "URL", conflicts_with = "socket", value_hint = clap::ValueHint::Url)]
    pub(crate) host: Option<String>,
    /// The file with the token that the device asks for [else: $GOALCTL_TOKEN_FILE]
    #[arg(long, global = true, help_heading = super::EVERYWHERE, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// The authorities (PEM) that a device or a registry must have its certificate from [else: for a device
    /// $GOALCTL_CA, then the system's]
    #[cfg(feature = "author")]
    #[arg(long, global = true, help_heading = super::EVERYWHERE, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate (PEM, with what is between it and its authority) for a device that asks for one [else:
    /// $GOALCTL_CLIENT_CERT]
    #[cfg(feature = "author")]
    #[arg(long, global = true, help_heading = super::EVERYWHERE, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key (PEM, without a passphrase) [else: $GOALCTL_CLIENT_KEY]
    #[cfg(feature = "author")]
    #[arg(long, global = true, help_heading = super::EVERYWHERE, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) client_key: Option<PathBuf>,
}
