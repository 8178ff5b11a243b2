//! Turns a host's name into addresses: a number, this machine's own table, then (where authors work) name servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// Of a file that an administrator wrote.
const LONGEST_FILE: u64 = 1024 * 1024;

/// All addresses of a host, in the order in which they are worth a try.
pub(crate) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = bare(host).parse() {
        return Ok(vec![address]);
    }
    if is_local(host) {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let listed = listed(&read("/etc/hosts")?, host);
    if !listed.is_empty() {
        return Ok(listed);
    }
    #[cfg(feature = "author")]
    return crate::author::dns::addresses(host).await;
    #[cfg(not(feature = "author"))]
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "it is no name of /etc/hosts, and this goalctl, a device's, asks no name server",
    ))
}

/// Names that never leave the machine.
pub(crate) fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost")
}

/// An address without the brackets that it has in a URL.
pub(crate) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Nothing, if it is not there.
pub(crate) fn read(path: &str) -> io::Result<String> {
    use std::io::Read;
    let mut text = Vec::new();
    match std::fs::File::open(Path::new(path)) {
        Ok(file) => drop(file.take(LONGEST_FILE).read_to_end(&mut text)?),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        Err(cause) => return Err(cause),
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn listed(hosts: &str, host: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    hosts.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_they_are_written() {
        assert_eq!(listed("192.0.2.7 one Two # three\n", "two"), [IpAddr::from([192, 0, 2, 7])]);
        assert!(listed("192.0.2.7 one Two # three\n", "three").is_empty());
    }
}
