//! Splits lines of an `lxc.container.conf` into words, as LXC reads them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// The words of `lxc.init.cmd`: parted by blanks, quoted with `"` or `'`, no escapes. Quoted words may touch, which makes them
/// one (authoring tools write `"-c""while …"`). A quote inside a bare word is an ordinary character.
pub(crate) fn command(text: &str) -> Result<Box<[Box<str>]>, &'static str> {
    let mut words: Vec<Box<str>> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let mut word = String::new();
        if matches!(first, '"' | '\'') {
            while let Some(quote) = rest.chars().next().filter(|next| matches!(next, '"' | '\'')) {
                let inside = &rest[1..];
                let end = inside.find(quote).ok_or("words whose quotes are closed")?;
                word.push_str(&inside[..end]);
                rest = &inside[end + 1..];
            }
        }
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        word.push_str(&rest[..end]);
        words.push(word.into());
        rest = rest[end..].trim_start();
    }
    Ok(words.into())
}

/// A field of an fstab line: `\040`, `\011`, `\012` and `\134` stand for blank, tab, newline and backslash.
pub(crate) fn fstab_field(field: &str) -> String {
    const ESCAPES: [(&str, char); 4] = [("\\040", ' '), ("\\011", '\t'), ("\\012", '\n'), ("\\134", '\\')];
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        match ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape)) {
            Some((escape, character)) => {
                text.push(*character);
                rest = &rest[escape.len()..];
            }
            None => {
                text.push('\\');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<Box<str>> {
        command(text).unwrap().into_vec()
    }

    #[test]
    fn the_first_word_is_bare_and_the_others_are_quoted() {
        assert_eq!(split(r#"/bin/sh "-c" "echo a  b""#), ["/bin/sh".into(), "-c".into(), "echo a  b".into()]);
    }

    #[test]
    fn touching_quoted_words_are_one() {
        assert_eq!(split(r#"/bin/sh "-c""while true""#), ["/bin/sh".into(), "-cwhile true".into()]);
    }

    #[test]
    fn an_empty_quoted_word_is_a_word() {
        assert_eq!(split(r#"/bin/x "" ''"#), ["/bin/x".into(), "".into(), "".into()]);
    }

    #[test]
    fn a_quote_inside_a_bare_word_is_a_character() {
        assert_eq!(split("/bin/x it's"), ["/bin/x".into(), "it's".into()]);
    }

    #[test]
    fn an_open_quote_is_refused() {
        assert_eq!(command("/bin/x \"a"), Err("words whose quotes are closed"));
    }

    #[test]
    fn fstab_escapes_are_read() {
        assert_eq!(fstab_field(r"a\040b\134c\x"), "a b\\c\\x");
    }
}
