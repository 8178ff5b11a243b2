//! The manual drivers of whoever asks: an operator has none, a container those of its run.json.

use hyper::StatusCode;
use model::ids::ContainerName;
use model::report::{Failure, FailureKind};
use model::revision::Revision;
use serde::Serialize;

use super::Backend;
use super::answer::{self, Answer};
use super::caller::Who;
use super::render::json;
use super::route::Segment;

/// What is asked of a driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Load,
    Unload,
}

impl Change {
    /// As the last segment of a path says it.
    pub(super) fn parse(text: &str) -> Option<Change> {
        match text {
            "load" => Some(Change::Load),
            "unload" => Some(Change::Unload),
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Driver {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Loaded,
    Unloaded,
    /// The revision says of no module what it is.
    Unknown,
}

/// GET /drivers.
pub(super) async fn list(backend: &Backend, who: &Who) -> Answer {
    match of_caller(backend, who).await {
        Ok(drivers) => answer::json(json(&drivers)),
        Err(failure) => answer::failed(&failure),
    }
}

/// PUT /drivers/load, PUT /drivers/{n}/load and the like.
pub(super) async fn change(backend: &Backend, who: &Who, name: Option<&Segment>, change: Change) -> Answer {
    let drivers = match of_caller(backend, who).await {
        Ok(drivers) => drivers,
        Err(failure) => return answer::failed(&failure),
    };
    let text = match (name, change) {
        // Of none, all are as they were asked to be.
        (None, _) if drivers.is_empty() => return answer::done(),
        (Some(name), change) if !drivers.iter().any(|driver| Some(&*driver.name) == name.name()) => {
            let text = match change {
                Change::Load => "Error loading driver",
                Change::Unload => "Error unloading driver",
            };
            return answer::error_because(
                StatusCode::BAD_REQUEST,
                text,
                "it is not among the manual drivers of whoever asks",
            );
        }
        (_, Change::Load) => "Drivers cannot be loaded on this device: this agent loads no kernel modules",
        (_, Change::Unload) => {
            "Drivers cannot be unloaded on this device: this agent loads no kernel modules"
        }
    };
    answer::error(StatusCode::CONFLICT, text)
}

async fn of_caller(backend: &Backend, who: &Who) -> Result<Vec<Driver>, Failure> {
    let (Who::Container { name, .. }, Some(revision)) = (who, backend.report().revision.clone()) else {
        return Ok(Vec::new());
    };
    let container = name.clone();
    backend
        .on_disk(move |store| {
            let revision = store.load_revision(&revision)?;
            let loaded = match std::fs::read_to_string("/proc/modules") {
                Ok(loaded) => loaded,
                // A kernel without modules.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
                Err(error) => {
                    return Err(Failure::new(FailureKind::Transient, format!("read /proc/modules: {error}")));
                }
            };
            Ok(manual(&revision, &container, &loaded))
        })
        .await
}

fn manual(revision: &Revision, container: &ContainerName, loaded: &str) -> Vec<Driver> {
    let wants = revision.container(container).and_then(|container| container.run.wants.as_deref());
    let names = wants.into_iter().flat_map(|wants| wants.drivers.manual.iter());
    names
        .map(|name| Driver { name: name.to_string(), kind: "MANUAL", status: status(revision, name, loaded) })
        .collect()
}

fn status(revision: &Revision, alias: &str, loaded: &str) -> Status {
    let aliases = revision.device().drivers.iter().filter(|driver| &*driver.name == alias);
    let modules: Vec<_> = aliases.flat_map(|driver| driver.modules.iter()).collect();
    let is_loaded = |line: &str| {
        // Its arguments follow; the kernel knows no hyphens.
        let module = line.split_whitespace().next().unwrap_or("").replace('-', "_");
        loaded.lines().any(|line| line.split(' ').next() == Some(&module))
    };
    match modules.as_slice() {
        [] => Status::Unknown,
        modules if modules.iter().all(|line| is_loaded(line)) => Status::Loaded,
        _ => Status::Unloaded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::revision::Defaults;

    #[test]
    fn a_container_has_the_drivers_that_its_run_json_calls_manual() {
        let state = r##"{"#spec": "pantavisor-service-system@1",
            "bsp/drivers.json": {"#spec": "driver-aliases@1", "all": {"wifi": ["snd-hda debug=1", "cfg80211"], "bt": ["btusb"]}},
            "web/run.json": {"#spec": "service-manifest-run@1", "name": "web", "group": "app",
                "drivers": {"required": [], "optional": ["bt"], "manual": ["wifi", "bt", "lora"]}}}"##;
        let revision =
            Revision::parse("1".parse().unwrap(), state.as_bytes(), Defaults::default(), &mut |_, _| {
                Err("not asked".to_owned())
            });
        let revision = revision.unwrap();
        let loaded = "snd_hda 16384 0 - Live 0x0\ncfg80211 1 0 - Live 0x0\nbtusb2 1 0 - Live 0x0\n";
        let drivers = manual(&revision, &"web".parse().unwrap(), loaded);
        let expected = [("wifi", Status::Loaded), ("bt", Status::Unloaded), ("lora", Status::Unknown)];
        let expected = expected.map(|(name, status)| Driver { name: name.into(), kind: "MANUAL", status });
        assert_eq!(drivers, expected);
        assert_eq!(manual(&revision, &"db".parse().unwrap(), loaded), []);
    }
}
