//! `text/event-stream`, as pieces that may be cut anywhere.

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) kind: String,
    pub(crate) data: String,
}

/// Gathers pieces into frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    line: Vec<u8>,
    frame: Frame,
    /// Whether the frame under way has any field yet.
    begun: bool,
}

/// More than any event of ours; a line beyond it is cut, not gathered.
const LONGEST_LINE: usize = 1024 * 1024;

impl Frames {
    /// The frames that `piece` completes.
    pub(crate) fn take(&mut self, piece: &[u8]) -> Vec<Frame> {
        let mut complete = Vec::new();
        for &byte in piece {
            if byte != b'\n' {
                if self.line.len() < LONGEST_LINE {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if !line.is_empty() {
                self.field(line);
            } else if std::mem::take(&mut self.begun) {
                complete.push(std::mem::take(&mut self.frame));
            }
        }
        complete
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.frame.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.frame.kind),
            "data" => {
                if !self.frame.data.is_empty() {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            _ => return, // A comment keeps the connection alive; what is unknown is skipped, as the format asks.
        }
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\n\nid: 7\nevent: status\ndata: {\"a\":\r\ndata: 1}\n\nid:8\ndata:x\n\n";

    #[test]
    fn frames_are_the_same_wherever_the_stream_is_cut() {
        let whole = Frames::default().take(STREAM);
        assert_eq!(whole.len(), 2);
        assert_eq!(whole[0], Frame { id: Some(7), kind: "status".into(), data: "{\"a\":\n1}".into() });
        assert_eq!(whole[1], Frame { id: Some(8), kind: String::new(), data: "x".into() });
        for cut in 0..STREAM.len() {
            let mut frames = Frames::default();
            let mut found = frames.take(&STREAM[..cut]);
            found.extend(frames.take(&STREAM[cut..]));
            assert_eq!(found, whole, "cut at {cut}");
        }
    }
}
