//! The system bus, for what only the init's logind may do. Connected to when something is asked, and let go with the answer.

use std::time::Duration;

use model::report::{Failure, FailureKind};
use zbus::Connection;
use zbus::zvariant::DynamicType;

use crate::power::Turn;

const LOGIND: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
/// For connecting, asking and being answered; logind may have to be started for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether logind would do it for us.
pub(crate) async fn may(turn: Turn) -> Result<(), Failure> {
    let method = match turn {
        Turn::Reboot => "CanReboot",
        Turn::Off => "CanPowerOff",
    };
    let answer = ask(method, &()).await?;
    let word: String = answer
        .body()
        .deserialize()
        .map_err(|error| failed(method, FailureKind::Permanent, &error.to_string()))?;
    // "no", "na", "challenge" (a person would be asked for a password), and whatever later versions say.
    if word == "yes" {
        return Ok(());
    }
    let shown: String = word.chars().take(40).collect();
    Err(failed(method, FailureKind::Denied, &format!("it answers {shown:?}")))
}

/// Has logind do it, without asking any person.
pub(crate) async fn turn(turn: Turn) -> Result<(), Failure> {
    let method = match turn {
        Turn::Reboot => "Reboot",
        Turn::Off => "PowerOff",
    };
    ask(method, &false).await.map(drop)
}

async fn ask<B: serde::Serialize + DynamicType>(method: &str, body: &B) -> Result<zbus::Message, Failure> {
    let exchange = async {
        let bus = Connection::system().await?;
        bus.call_method(Some(LOGIND), PATH, Some(MANAGER), method, body).await
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(answer) => answer.map_err(|error| failed(method, FailureKind::Transient, &error.to_string())),
        Err(_) => {
            let why = format!("no answer within {} s", PATIENCE.as_secs());
            Err(failed(method, FailureKind::Transient, &why))
        }
    }
}

fn failed(method: &str, kind: FailureKind, why: &str) -> Failure {
    Failure::new(kind, format!("have logind do {method} over the system bus: {why}"))
}
