//! `goalctl export`: a revision of the device or of a folder as one file.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use model::ids::Digest;
use serde::Deserialize;

use crate::address::{self, Step};
use crate::bundle::{Bundle, named_objects, pieces, set_of};
use crate::check;
use crate::client::Client;
use crate::failed::Failed;
use crate::meter::Meter;
use crate::output::Output;
use crate::tarball::Tarball;

#[derive(Debug, Deserialize)]
struct OnDevice {
    sha256: Digest,
    size: String,
}

/// What is packed.
enum Source<'a> {
    Device(&'a Client),
    /// Boxed for its size alone.
    Bundle(Box<Bundle>),
}

/// A revision as it is packed.
struct Revision<'a> {
    source: Source<'a>,
    state: Vec<u8>,
    sizes: BTreeMap<Digest, u64>,
}

pub(crate) async fn export(client: &Client, output: &Output, from: &str, file: &Path) -> Result<(), Failed> {
    if file == Path::new("-") {
        return Err(Failed::Usage {
            text: "export writes a file: name it (./- for one of that name)".to_owned(),
        });
    }
    let Revision { source, state, sizes } = match Step::parse(from) {
        Ok(step) => Revision {
            source: Source::Device(client),
            state: client.get(&format!("/steps/{}", step.as_str())).await?,
            sizes: sizes_on_device(client).await?,
        },
        Err(no_name) if !Path::new(from).exists() => return Err(no_name),
        Err(_) => open(Path::new(from))?,
    };
    let mut objects = BTreeMap::new();
    for (key, digest) in named_objects(&state) {
        let Some(size) = sizes.get(&digest) else {
            return Err(Failed::Checked {
                text: format!("{from} is not packed: {key} has no object {digest}"),
            });
        };
        objects.insert(digest, *size);
    }
    let bytes = objects.values().sum();
    let mut tarball = Tarball::begin(file)?;
    tarball.state(&state)?;
    let mut meter = Meter::new(bytes);
    let packed = pack(&source, &objects, &mut tarball, &mut meter).await;
    meter.clear();
    packed?;
    tarball.finish()?;
    output.line(&format!("{}: {from}, {} objects ({bytes} bytes)", file.display(), objects.len()))
}

fn open<'a>(path: &Path) -> Result<Revision<'a>, Failed> {
    let bundle = Bundle::open(path)?;
    if bundle.is_package() {
        return Err(Failed::Usage { text: format!("{} is a package already", path.display()) });
    }
    check::refuse_wrong(path, &bundle)?;
    let (state, sizes) = (bundle.state.clone(), bundle.sizes());
    Ok(Revision { source: Source::Bundle(Box::new(bundle)), state, sizes })
}

async fn sizes_on_device(client: &Client) -> Result<BTreeMap<Digest, u64>, Failed> {
    let objects: Vec<OnDevice> = client.get_json("/objects").await?;
    let mut sizes = BTreeMap::new();
    for OnDevice { sha256, size } in objects {
        let Ok(size) = size.parse() else {
            let cause = format!("object {sha256} has the size {size:?}");
            return Err(Failed::BadAnswer { what: "GET /objects".to_owned(), cause });
        };
        sizes.insert(sha256, size);
    }
    Ok(sizes)
}

/// In the order of their names, each once.
async fn pack(
    source: &Source<'_>,
    objects: &BTreeMap<Digest, u64>,
    tarball: &mut Tarball,
    meter: &mut Meter,
) -> Result<(), Failed> {
    match source {
        Source::Device(client) => {
            for (digest, size) in objects {
                let mut member = tarball.object(*digest, *size)?;
                let mut stream = client.stream(&address::object(digest)).await?;
                while let Some(piece) = stream.next().await? {
                    member.write(&piece)?;
                    meter.advance(piece.len() as u64);
                }
                member.finish()?;
            }
            Ok(())
        }
        Source::Bundle(bundle) => {
            let wanted = set_of(&mut objects.keys().copied());
            let mut take = |digest, size, source: &mut dyn Read| {
                let mut member = tarball.object(digest, size)?;
                pieces(source, &mut |piece| {
                    meter.advance(piece.len() as u64);
                    member.write(piece)
                })?;
                member.finish()
            };
            bundle.take(&wanted, &mut take).await
        }
    }
}
