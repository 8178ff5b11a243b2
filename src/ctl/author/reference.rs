//! `host[:port]/name[:tag][@sha256:…]`: an image in a registry.

use model::ids::Digest;

use crate::failed::Failed;

/// What to fetch, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) digest: Option<Digest>,
}

impl Reference {
    pub(crate) fn parse(text: &str) -> Result<Reference, Failed> {
        let wrong = || Failed::Usage {
            text: format!(
                "docker://{text}: use docker://host/name:tag, or docker://host/name@sha256:<64 hex>"
            ),
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
                (rest, Some(digest.ok_or_else(wrong)?))
            }
            None => (text, None),
        };
        // As docker has it: the first part is a host only if it looks like one.
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path.to_owned()),
            Some(_) => ("docker.io", rest.to_owned()),
            None => ("docker.io", format!("library/{rest}")),
        };
        let (name, tag) = match path.rsplit_once(':') {
            Some((name, tag)) => (name.to_owned(), tag.to_owned()),
            None => (path, "latest".to_owned()),
        };
        let plain = |text: &str, also: &[u8]| {
            text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
        };
        let good_name = name
            .split('/')
            .all(|part| part.starts_with(|first: char| first.is_ascii_alphanumeric()) && plain(part, b"._-"));
        if !good_name || tag.is_empty() || tag.starts_with(['.', '-']) || !plain(&tag, b"._-") {
            return Err(wrong());
        }
        if !plain(host, b".-:[]") {
            return Err(wrong());
        }
        Ok(Reference { host: host.to_owned(), name, tag, digest })
    }

    /// Where its registry answers.
    pub(crate) fn address(&self) -> &str {
        if self.host == "docker.io" { "registry-1.docker.io" } else { &self.host }
    }

    /// What its manifest is asked for by.
    pub(crate) fn version(&self) -> String {
        match &self.digest {
            Some(digest) => format!("sha256:{digest}"),
            None => self.tag.clone(),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}:{}", self.host, self.name, self.tag)?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(formatter, "@sha256:{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        for (text, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("localhost/a", "localhost/a:latest"),
            ("127.0.0.1:5000/a/b/c:v1.2", "127.0.0.1:5000/a/b/c:v1.2"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), whole);
        }
    }

    #[test]
    fn what_could_steer_a_request_is_refused() {
        for text in
            ["h.x/../a", "h.x/a b", "h.x/a?b", "h.x/a:b/c", "h.x/a@sha256:12", "h.x/a:", "h x.y/a", ""]
        {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
