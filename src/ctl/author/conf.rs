//! `lxc.container.conf` of a container, made from its `src.json`.

use serde_json::Value;

use crate::author::args::{Args, wrong};
use crate::author::run_json::{self, Place, Sort};
use crate::author::src_json::Src;
use crate::author::users;
use crate::failed::Failed;

const MOUNT: &str = "lxc.mount.entry";

/// The lines so far.
#[derive(Debug, Default)]
struct Conf(String);

impl Conf {
    /// One line; a value that would be two is refused.
    fn put(&mut self, key: &str, value: &str) -> Result<(), Failed> {
        if value.contains(['\n', '\r', '\0']) {
            let text = format!(
                "{key}: found {value:?}, allowed is what fits on one line of {}; --config or src.json's config says another",
                run_json::CONF
            );
            return Err(Failed::Checked { text });
        }
        self.0.push_str(&format!("{key} = {value}\n"));
        Ok(())
    }

    fn mount(&mut self, source: &str, target: &str, rest: &str) -> Result<(), Failed> {
        let target = target.trim_start_matches('/');
        self.put(MOUNT, &format!("{} {} {rest} 0 0", field(source), field(target)))
    }
}

/// The whole file; none for a container without a process.
pub(crate) fn make(name: &str, src: &Src) -> Result<Option<String>, Failed> {
    let args = src.args();
    if run_json::sort(args)? == Sort::Data {
        return Ok(None);
    }
    let mut conf = Conf::default();
    conf.put("lxc.tty.max", &args.text("LXC_TTY_MAX")?.unwrap_or_else(|| "8".to_owned()))?;
    conf.put("lxc.pty.max", &args.text("LXC_PTY_MAX")?.unwrap_or_else(|| "1024".to_owned()))?;
    devices(&mut conf, args)?;
    conf.put("lxc.rootfs.path", &rootfs(name, src))?;
    program(&mut conf, src)?;
    namespaces(&mut conf, args)?;
    if args.is_on("PV_LXC_DISABLE_CONSOLE")? {
        conf.put("lxc.console.path", "none")?;
    }
    conf.put("lxc.mount.auto", "proc sys:rw cgroup")?;
    if args.is_on("PV_DISABLE_AUTODEV")? {
        conf.put("lxc.autodev", "0")?;
    }
    mounts_of_the_device(&mut conf, args)?;
    mounts_of_storage(&mut conf, name, src)?;
    mounts_of_volumes(&mut conf, name, args)?;
    for (key, argument) in [("lxc.cap.drop", "PV_LXC_CAP_DROP"), ("lxc.cap.keep", "PV_LXC_CAP_KEEP")] {
        for names in args.list(argument)? {
            conf.put(key, &names.to_ascii_lowercase())?;
        }
    }
    network(&mut conf, args)?;
    for extra in args.lines("PV_LXC_EXTRA_CONF")? {
        conf.0.push_str(extra.trim_end_matches('\n'));
        conf.0.push('\n');
    }
    Ok(Some(conf.0))
}

fn devices(conf: &mut Conf, args: Args<'_>) -> Result<(), Failed> {
    let allowed = args.list("PVR_LXC_CGROUP_DEVICES_WHITE")?;
    if allowed.is_empty() {
        return conf.put("lxc.cgroup.devices.allow", "a");
    }
    conf.put("lxc.cgroup.devices.deny", "a")?;
    allowed.iter().try_for_each(|rule| conf.put("lxc.cgroup.devices.allow", rule))
}

fn rootfs(name: &str, src: &Src) -> String {
    let upper = format!("/volumes/{name}/lxc-overlay/upper");
    match src.text("base") {
        "" => format!("overlayfs:/volumes/{name}/root.squashfs:{upper}"),
        base => format!("overlayfs:/volumes/{name}/root.ovl.squashfs:/volumes/{base}/root.squashfs:{upper}"),
    }
}

fn program(conf: &mut Conf, src: &Src) -> Result<(), Failed> {
    conf.put("lxc.init.cmd", &command(src)?)?;
    if let Some(folder) = src.image_config("WorkingDir").as_str().filter(|folder| !folder.is_empty()) {
        let slash = if folder.starts_with('/') { "" } else { "/" };
        conf.put("lxc.init.cwd", &format!("{slash}{folder}"))?;
    }
    let user = users::of(src)?;
    if (user.uid, user.gid) != (0, 0) {
        conf.put("lxc.init.uid", &user.uid.to_string())?;
        conf.put("lxc.init.gid", &user.gid.to_string())?;
    }
    for pair in texts("Env", src.image_config("Env"))?.into_iter().chain(extra_environment(src.args())?) {
        // LXC trims a value, and takes quotes that are around all of it away.
        let as_it_is = pair.trim() == pair && !pair.starts_with(['"', '\'']);
        conf.put("lxc.environment", &if as_it_is { pair } else { format!("\"{pair}\"") })?;
    }
    Ok(())
}

/// What runs where the image names nothing.
pub(crate) const INIT: &str = "/sbin/init";

/// The entrypoint, then the command. A text instead of an array is split as LXC splits it.
pub(crate) fn command(src: &Src) -> Result<String, Failed> {
    let mut words: Vec<String> = Vec::new();
    for key in ["Entrypoint", "Cmd"] {
        match src.image_config(key) {
            Value::String(text) => words.extend(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            list @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                for word in texts(key, list)? {
                    let bare = words.is_empty()
                        && !word.is_empty()
                        && !word.contains(|one: char| one.is_whitespace() || one == '"' || one == '\'');
                    words.push(if bare { word } else { quoted(&word) });
                }
            }
        }
    }
    if words.is_empty() {
        return Ok(INIT.to_owned());
    }
    Ok(words.join(" "))
}

/// There is no escape: a word with quotes of both sorts is made of quoted pieces that touch.
fn quoted(word: &str) -> String {
    if !word.contains('"') {
        return format!("\"{word}\"");
    }
    if !word.contains('\'') {
        return format!("'{word}'");
    }
    let pieces: Vec<String> = word.split('"').map(|piece| format!("\"{piece}\"")).collect();
    pieces.join("'\"'")
}

fn texts(key: &str, value: &Value) -> Result<Vec<String>, Failed> {
    let wrong = || Failed::Checked { text: format!("{key}: found {value}, allowed is an array of texts") };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Err(wrong()),
    }
}

/// An array of `K=V`, an object, or one `K=V`.
fn extra_environment(args: Args<'_>) -> Result<Vec<String>, Failed> {
    const NAME: &str = "PV_LXC_EXTRA_ENV";
    let pairs: Vec<String> = match args.0.get(NAME) {
        Some(Value::Object(pairs)) => {
            let pair = |(key, value): (&String, &Value)| match value.as_str() {
                Some(text) => format!("{key}={text}"),
                None => format!("{key}={value}"),
            };
            pairs.iter().map(pair).collect()
        }
        _ => args.lines(NAME)?,
    };
    match pairs.iter().find(|pair| !pair.contains('=')) {
        Some(bad) => Err(wrong(NAME, &bad.as_str().into(), "NAME=VALUE")),
        None => Ok(pairs),
    }
}

fn namespaces(conf: &mut Conf, args: Args<'_>) -> Result<(), Failed> {
    const KEY: &str = "lxc.namespace.keep";
    if args.has("PV_LXC_NAMESPACE_KEEP") {
        let words = args.list("PV_LXC_NAMESPACE_KEEP")?.join(" ");
        // Nothing to keep: the key is left out, which says so.
        return if words.is_empty() { Ok(()) } else { conf.put(KEY, &words) };
    }
    let own_network = args.text("PV_LXC_NETWORK_TYPE")?.is_some_and(|kind| kind != "host");
    conf.put(KEY, if own_network { "user ipc" } else { "user net ipc" })
}

fn mounts_of_the_device(conf: &mut Conf, args: Args<'_>) -> Result<(), Failed> {
    const FOLDER: &str = "none bind,rw,create=dir";
    for (argument, source, target, rest) in [
        ("PV_SECURITY_FULLDEV", "/dev", "dev", "none rbind,rw,create=dir"),
        ("PV_SECURITY_WITH_HOST", "/", "host", FOLDER),
        ("PV_SECURITY_WITH_HOSTPROC", "/proc", "host/proc", FOLDER),
        ("PV_SECURITY_WITH_STORAGE", "/storage", "storage", FOLDER),
    ] {
        if args.is_on(argument)? {
            conf.mount(source, target, rest)?;
        }
    }
    if !args.is_on("PV_RESOLV_CONF_DISABLE")? {
        conf.mount("/etc/resolv.conf", "etc/resolv.conf", "none bind,ro,create=file,optional")?;
    }
    if !args.is_on("PV_RUN_TMPFS_DISABLE")? {
        conf.mount("tmpfs", "run", "tmpfs rw,nodev,relatime,mode=755")?;
    }
    Ok(())
}

fn mounts_of_storage(conf: &mut Conf, name: &str, src: &Src) -> Result<(), Failed> {
    let image = if src.text("base").is_empty() { "root.squashfs" } else { "root.ovl.squashfs" };
    for storage in run_json::storage(src)? {
        let place = format!("/volumes/{name}/{}", storage.key);
        match &storage.place {
            Place::Root => {}
            Place::Bound(path) => conf.mount(&place, path, "none bind,rw,create=dir")?,
            Place::Overlaid(path) => {
                let lower = field(&format!("/volumes/{name}/{image}/{}", path.trim_start_matches('/')));
                let place = field(&place);
                let rest = format!("overlay lowerdir={lower},upperdir={place}/upper,workdir={place}/work");
                conf.mount("overlay", path, &rest)?;
            }
        }
    }
    Ok(())
}

fn mounts_of_volumes(conf: &mut Conf, name: &str, args: Args<'_>) -> Result<(), Failed> {
    for (source, target) in run_json::pairs(args, "PV_FILEIMPORTS", "SOURCE:TARGET")? {
        let source = source.trim_start_matches('/');
        conf.mount(&format!("/exports/{source}"), &target, "none bind,rw,create=file")?;
    }
    for (volume, target) in run_json::pairs(args, "PV_IMPORT_CONFIGVOLUMES", "CONTAINER/VOLUME:TARGET")? {
        let source = format!("/volumes/{volume}/{name}");
        conf.mount(&source, &target, "none bind,rw,create=dir,optional,noexec")?;
    }
    for (image, target) in run_json::volume_mounts(args)? {
        conf.mount(&format!("/volumes/{name}/{image}"), &target, "none bind,rw,create=dir")?;
    }
    for text in args.list("PV_VOLUME_IMPORTS")? {
        let (source, target) = volume_import(&text)?;
        conf.mount(&source, &target, "none bind,rw,create=dir")?;
    }
    Ok(())
}

/// `CONTAINER/VOLUME[:PATH]:TARGET`, or `os:PATH:TARGET` for a folder of the device.
fn volume_import(text: &str) -> Result<(String, String), Failed> {
    let fields: Vec<&str> = text.split(':').collect();
    match fields.as_slice() {
        ["os", path, target] if path.starts_with('/') => Ok(((*path).to_owned(), (*target).to_owned())),
        [volume, target] if volume.contains('/') => Ok((format!("/volumes/{volume}"), (*target).to_owned())),
        [volume, path, target] if volume.contains('/') => {
            let path = path.trim_matches('/');
            let slash = if path.is_empty() { "" } else { "/" };
            Ok((format!("/volumes/{volume}{slash}{path}"), (*target).to_owned()))
        }
        _ => {
            let allowed = "CONTAINER/VOLUME:PATH:TARGET, CONTAINER/VOLUME:TARGET or os:PATH:TARGET";
            Err(wrong("PV_VOLUME_IMPORTS", &text.into(), allowed))
        }
    }
}

fn network(conf: &mut Conf, args: Args<'_>) -> Result<(), Failed> {
    const TYPE: &str = "PV_LXC_NETWORK_TYPE";
    let Some(kind) = args.text(TYPE)?.filter(|kind| kind != "host") else { return Ok(()) };
    if !matches!(kind.as_str(), "empty" | "phys" | "veth") {
        return Err(wrong(TYPE, &kind.into(), "host, empty, phys or veth"));
    }
    conf.put("lxc.net.0.type", &kind)?;
    if kind == "empty" {
        return Ok(());
    }
    conf.put("lxc.net.0.flags", "up")?;
    for (key, argument) in [
        ("link", "PV_LXC_NETWORK_LINK"),
        ("ipv4.address", "PV_LXC_NETWORK_IPV4_ADDRESS"),
        ("ipv4.gateway", "PV_LXC_NETWORK_IPV4_GATEWAY"),
    ] {
        if let Some(text) = args.text(argument)? {
            conf.put(&format!("lxc.net.0.{key}"), &text)?;
        }
    }
    Ok(())
}

/// One field of an fstab line.
fn field(text: &str) -> String {
    let escapes = [('\\', "\\134"), (' ', "\\040"), ('\t', "\\011"), ('\n', "\\012")];
    text.chars().fold(String::new(), |mut field, character| {
        match escapes.iter().find(|(plain, _)| *plain == character) {
            Some((_, escape)) => field.push_str(escape),
            None => field.push(character),
        }
        field
    })
}
