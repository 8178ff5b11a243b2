//! What the agent is configured to: each key, its value, where it came from.

use serde::Deserialize;

use crate::cli::Format;
use crate::client::Client;
use crate::failed::Failed;
use crate::output::{Cell, Output, Tone};

#[derive(Debug, Deserialize)]
struct Setting {
    key: String,
    value: String,
    from: String,
}

pub(crate) async fn print(client: &Client, output: &Output, format: Format) -> Result<(), Failed> {
    if format.json {
        return output.json(&client.get("/config2").await?);
    }
    let settings: Vec<Setting> = client.get_json("/config2").await?;
    let rows = settings.iter().map(|setting| {
        let tone = if setting.from == "default" { Tone::Quiet } else { Tone::Plain };
        vec![Cell::plain(&setting.key), Cell::plain(&setting.value), Cell::new(tone, &setting.from)]
    });
    output.table(&["KEY", "VALUE", "FROM"], &rows.collect::<Vec<_>>())
}
