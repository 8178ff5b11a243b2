//! The configuration as it is answered: the same for as long as the agent lives.

use hyper::body::Bytes;

use crate::config::{Place, Setting};
use crate::json::{array, object, text};

/// Both forms.
#[derive(Debug)]
pub(super) struct Pages {
    /// GET /config2.
    pub(super) list: Bytes,
    /// GET /config.
    pub(super) flat: Bytes,
}

impl Pages {
    pub(super) fn of(settings: &[Setting]) -> Pages {
        let listed: Vec<_> = settings.iter().map(listed).collect();
        let flat: Vec<_> = settings.iter().map(|setting| (setting.name, text(&setting.value))).collect();
        Pages { list: Bytes::from(array(&listed)), flat: Bytes::from(object(&flat)) }
    }
}

/// The field's three members first.
fn listed(setting: &Setting) -> String {
    let modified = match setting.place {
        None => "default",
        Some(Place::Line(..)) => "file",
        Some(Place::Environment(_)) => "environment",
        Some(Place::CommandLine) => "command line",
    };
    let from = setting.place.as_ref().map_or_else(|| modified.to_owned(), Place::to_string);
    object(&[
        ("key", text(setting.name)),
        ("value", text(&setting.value)),
        ("modified", text(modified)),
        ("from", text(&from)),
        ("default", text(&setting.default)),
        ("allowed", text(&setting.allowed)),
        ("about", text(setting.about)),
    ])
}
