//! Whom an image's `User` means, by its own `/etc/passwd` with `/etc/group`.

use crate::author::src_json::{Src, User};
use crate::author::tree::Tree;
use crate::failed::Failed;

/// Far more than any image has.
const LONGEST: u64 = 4 * 1024 * 1024;

/// The user of a container that is being made: looked up in its tree, and kept in `src.json`.
pub(crate) fn keep(src: &mut Src, tree: &Tree) -> Result<(), Failed> {
    let name = src.image_config("User").as_str().unwrap_or_default().to_owned();
    if plain(&name).is_none() {
        let user = look_up(&name, tree)?;
        src.set_user(&user);
    }
    Ok(())
}

/// The user of a container that was made: by number, or as it was found then.
pub(crate) fn of(src: &Src) -> Result<User, Failed> {
    let name = src.image_config("User").as_str().unwrap_or_default();
    let kept = src.user().filter(|user| user.name == name);
    let number = || name.parse().ok().map(|uid| User { name: name.to_owned(), uid, gid: 0 });
    plain(name).or(kept).or_else(number).ok_or_else(|| Failed::Checked {
        text: format!(
            "User {name:?} is a name, and its numbers are not known; use UID:GID, or run `goalctl app update`"
        ),
    })
}

/// `UID` or `UID:GID`. Nobody is root.
fn plain(name: &str) -> Option<User> {
    let (uid, gid) = name.split_once(':').unwrap_or((name, ""));
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse().ok() };
    // A group that is not named is the user's own, which only the image knows.
    if gid.is_empty() && !uid.is_empty() && uid != "0" {
        return None;
    }
    Some(User { name: name.to_owned(), uid: number(uid)?, gid: number(gid)? })
}

fn look_up(name: &str, tree: &Tree) -> Result<User, Failed> {
    let (user, group) = name.split_once(':').map_or((name, None), |(user, group)| (user, Some(group)));
    let table = |path: &str| {
        let bytes = tree.read_small(path.as_bytes(), LONGEST).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let passwd = table("etc/passwd");
    let entry = passwd.lines().map(fields).find(|fields| {
        fields.first() == Some(&user) || (user.parse::<u32>().is_ok() && fields.get(2) == Some(&user))
    });
    let field = |index: usize| entry.as_ref().and_then(|fields| fields.get(index)?.parse::<u32>().ok());
    let missing = |what: &str, name: &str, file: &str| Failed::Checked {
        text: format!("the image's config names the {what} {name:?}, which its {file} does not have"),
    };
    let uid = field(2).or_else(|| user.parse().ok()).ok_or_else(|| missing("user", user, "/etc/passwd"))?;
    let gid = match group {
        None => field(3).unwrap_or(0),
        Some(group) => {
            group_of(group, &table("etc/group")).ok_or_else(|| missing("group", group, "/etc/group"))?
        }
    };
    Ok(User { name: name.to_owned(), uid, gid })
}

fn group_of(group: &str, table: &str) -> Option<u32> {
    let mut entries = table.lines().map(fields);
    let found = entries.find(|fields| fields.first() == Some(&group));
    found.and_then(|fields| fields.get(2)?.parse().ok()).or_else(|| group.parse().ok())
}

fn fields(line: &str) -> Vec<&str> {
    line.split(':').collect()
}
