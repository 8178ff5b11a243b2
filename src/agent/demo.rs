//! `goalpost demo`: a device in a temporary folder that shows, in under twenty seconds, what Goalpost is for.

mod client;
mod device;
mod needs;
pub(crate) mod options;
mod screen;
mod squashfs;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use model::ids::RevisionId;
use model::report::Failure;
use nix::sys::signal::{Signal, raise};
use serde_json::{Value, json};

use self::client::{Client, ClientError, Events};
use self::device::{Content, Object};
pub use self::options::{Afterwards, DemoOptions};
use self::screen::Screen;
use crate::config::Config;
use crate::start::{self, StartError};
use crate::store::Store;

/// Longer than any show takes; a demo that hangs says where.
const LONGEST: Duration = Duration::from_secs(90);

/// Why the demo did not show what it should.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The machine lacks something.
    #[error("find what the demo needs: {0}")]
    Lacks(String),
    /// A file or folder.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was tried.
        op: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The image could not be made.
    #[error("make the demo's image: {0}")]
    Image(String),
    /// The device could not be made.
    #[error("make the demo's device: {}", .0.detail)]
    Device(Failure),
    /// The agent did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The agent did not answer as it should.
    #[error("ask the agent: {0}")]
    Ask(String),
    /// Something else happened than what was to be shown.
    #[error("show {expected}: {found}")]
    Unexpected {
        /// What was to be shown.
        expected: &'static str,
        /// What happened.
        found: String,
    },
}

impl From<ClientError> for DemoError {
    fn from(error: ClientError) -> DemoError {
        let cause = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
        DemoError::Ask(format!("{error}{cause}"))
    }
}

/// The folder that the demo's device lives in.
struct Home(PathBuf);

impl Home {
    fn make() -> Result<Home, DemoError> {
        let path = std::env::temp_dir().join(format!("goalpost-demo-{}", std::process::id()));
        let failed = |source| DemoError::File { op: "make", path: path.clone(), source };
        DirBuilder::new().mode(0o700).create(&path).map_err(failed)?;
        // Containers that are not root walk through it to their own folders.
        std::fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(failed)?;
        for folder in ["root", "run"] {
            std::fs::create_dir(path.join(folder)).map_err(failed)?;
        }
        Ok(Home(path))
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn run_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    fn socket(&self) -> PathBuf {
        self.run_dir().join("pv-ctrl")
    }

    fn remove(&self) -> Result<(), DemoError> {
        std::fs::remove_dir_all(&self.0).map_err(|source| DemoError::File {
            op: "remove",
            path: self.0.clone(),
            source,
        })
    }
}

/// Shows everything, once.
///
/// # Errors
/// What is missing, or what went otherwise than it should; nothing of the demo is left running.
pub async fn demo(options: DemoOptions) -> Result<(), DemoError> {
    let goalctl = start::goalctl_beside_us().ok_or_else(|| {
        DemoError::Lacks("goalctl is not beside goalpost; build both (cargo build --release)".to_owned())
    })?;
    needs::check().map_err(DemoError::Lacks)?;
    let screen = Screen::new();
    screen.remark("making an image from goalctl, a device in a temporary folder, a factory revision");
    let image = make_image(goalctl).await?;
    let home = Home::make()?;
    let outcome = on_device(&home, &image, screen, options).await;
    match (&outcome, options.afterwards) {
        (Ok(()), Afterwards::Keep) => Ok(()),
        (Ok(()), Afterwards::Remove) => home.remove(),
        (Err(_), Afterwards::Remove | Afterwards::Keep) => {
            let _ = home.remove();
            outcome
        }
    }
}

async fn make_image(goalctl: PathBuf) -> Result<Object, DemoError> {
    let made = tokio::task::spawn_blocking(move || device::image(&goalctl)).await;
    made.map_err(|error| DemoError::Image(error.to_string()))?
        .map_err(|error| DemoError::Image(error.to_string()))
}

async fn on_device(
    home: &Home,
    image: &Object,
    screen: Screen,
    options: DemoOptions,
) -> Result<(), DemoError> {
    let factory = Content::factory(image);
    install(&home.root(), image, &factory).map_err(DemoError::Device)?;
    let agent = start::start(config(home)).await?;
    let life = tokio::spawn(agent.live());
    let client = Client::new(&home.socket());
    let mut show = Show { events: client.events().await?, client, screen };
    let shown = match tokio::time::timeout(LONGEST, show.run(&factory)).await {
        Ok(shown) => shown,
        Err(_) => Err(DemoError::Unexpected {
            expected: "everything in time",
            found: "it took too long".to_owned(),
        }),
    };
    match (&shown, options.afterwards) {
        (Ok(()), Afterwards::Keep) => show.screen.remark(&what_next(home)),
        (Ok(()), Afterwards::Remove) => {
            show.screen.chapter("Stop: in reverse order, nothing is left");
            end();
        }
        (Err(_), Afterwards::Keep | Afterwards::Remove) => end(),
    }
    show.until_the_end().await;
    life.await.map_err(|error| DemoError::Ask(format!("its life ended: {error}")))?;
    shown
}

/// As a service manager would.
fn end() {
    if let Err(errno) = raise(Signal::SIGTERM) {
        log::error!("op=raise error={errno}");
    }
}

/// Short delays, for an audience.
fn config(home: &Home) -> Config {
    let mut config = Config { root: home.root(), run_dir: home.run_dir(), ..Config::default() };
    // Started over, it is a plain agent: the show is not repeated.
    let (root, run_dir) = (config.root.clone().into(), config.run_dir.clone().into());
    config.start_over_as =
        vec!["goalpost".into(), "run".into(), "--root".into(), root, "--run-dir".into(), run_dir];
    config.settings.commit_delay = Duration::from_secs(1);
    config.settings.stop_grace = Duration::from_secs(2);
    config
}

/// Makes the device, as a factory would.
fn install(root: &Path, image: &Object, factory: &Content) -> Result<(), Failure> {
    let store = Arc::new(Store::open(root)?);
    for object in factory.confs().chain([image.clone()]) {
        let mut writer = store.put_object(object.digest)?;
        writer.write(&object.bytes)?;
        writer.finish()?;
    }
    store.install(&RevisionId::factory(), &factory.state())
}

fn what_next(home: &Home) -> String {
    let socket = home.socket();
    let socket = socket.display();
    format!(
        "\nThe device runs on in {}. In another terminal:\n\
         \n  export GOALPOST_SOCKET={socket}\n\
         \n  goalctl ps -w                 watch the containers\
         \n  goalctl logs -f web           what one of them prints\
         \n  goalctl restart worker        restart one\
         \n  goalctl steps                 every revision, with what became of it\
         \n  goalctl run 0 --follow        back to the factory revision\
         \n  curl --unix-socket $GOALPOST_SOCKET http://localhost/containers\n\
         \nControl-C stops it; its folder stays.",
        home.0.display()
    )
}

/// The show, event by event.
struct Show {
    client: Client,
    events: Events,
    screen: Screen,
}

impl Show {
    async fn run(&mut self, factory: &Content) -> Result<(), DemoError> {
        self.screen.chapter("Boot: three containers in two groups; \"web\" is ready when it says so itself");
        self.until_goals_are_met(factory).await?;
        let before = self.processes().await?;

        self.screen.chapter("A good update: only \"worker\" changes");
        let better = factory.with_newer_worker();
        self.expect_update("locals/better", &better, "DONE").await?;
        self.tell_processes(&before).await?;

        self.screen.chapter("A bad update: its \"web\" never says that it is ready");
        self.expect_update("locals/silent", &better.with_silent_web(), "ERROR").await?;
        self.tell_processes(&before).await
    }

    async fn until_goals_are_met(&mut self, content: &Content) -> Result<(), DemoError> {
        let mut waiting: BTreeSet<&str> = content.members.iter().map(|member| member.name).collect();
        while !waiting.is_empty() {
            let event = self.show_next().await?;
            let container = event["container"].as_str().unwrap_or_default();
            match event["kind"].as_str() {
                Some("goal-met") => _ = waiting.remove(container),
                Some("goal-missed") => return Err(unexpected("every container at its goal", &event)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Posts, runs, and waits for its end, which must be `expected`.
    async fn expect_update(
        &mut self,
        name: &'static str,
        content: &Content,
        expected: &'static str,
    ) -> Result<(), DemoError> {
        for object in content.confs() {
            self.client.call(Method::PUT, &format!("/objects/{}", object.digest), object.bytes).await?;
        }
        self.client.call(Method::PUT, &format!("/steps/{name}"), content.state()).await?;
        let run = json!({"op": "LOCAL_RUN", "payload": name});
        self.client.call(Method::POST, "/commands", run.to_string().into_bytes()).await?;
        loop {
            let event = self.show_next().await?;
            let status = event["progress"]["status"].as_str().unwrap_or_default();
            if event["kind"] != "update" || event["revision"] != name {
                continue;
            }
            if status == expected {
                return self.until_phase("running").await;
            }
            if ["DONE", "UPDATED", "WONTGO", "ERROR"].contains(&status) {
                return Err(unexpected(expected, &event));
            }
        }
    }

    async fn until_phase(&mut self, phase: &str) -> Result<(), DemoError> {
        while self.status().await?["phase"] != phase {
            self.show_next().await?;
        }
        Ok(())
    }

    /// Which process each container is.
    async fn processes(&self) -> Result<Vec<(String, u64)>, DemoError> {
        let status = self.status().await?;
        let containers = status["containers"].as_array().into_iter().flatten();
        Ok(containers
            .filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["pid"].as_u64()?)))
            .collect())
    }

    async fn tell_processes(&self, before: &[(String, u64)]) -> Result<(), DemoError> {
        for (name, pid) in self.processes().await? {
            let same = before.contains(&(name.clone(), pid));
            let what = if same { "never noticed: still process" } else { "is now process" };
            self.screen.remark(&format!("         {name:<10} {what} {pid}"));
        }
        Ok(())
    }

    async fn status(&self) -> Result<Value, DemoError> {
        let body = self.client.call(Method::GET, "/status", Vec::new()).await?;
        serde_json::from_slice(&body).map_err(|error| DemoError::Ask(format!("GET /status: {error}")))
    }

    async fn show_next(&mut self) -> Result<Value, DemoError> {
        let event = self.events.next().await?;
        self.screen.event(&event);
        Ok(event)
    }

    /// Shows what still happens, until the agent has left.
    async fn until_the_end(&mut self) {
        while self.show_next().await.is_ok() {}
    }
}

fn unexpected(expected: &'static str, event: &Value) -> DemoError {
    DemoError::Unexpected { expected, found: event.to_string() }
}
