//! Gzip (RFC 1952) as packages have it: a fraction of what a library for every format and speed adds to a device's program.

use std::io::{self, BufRead, Read, Write};

use miniz_oxide::deflate::core::CompressorOxide;
use miniz_oxide::deflate::stream::deflate;
use miniz_oxide::inflate::stream::{FullReset, InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

/// Both ends of every member: magic and method; no flags, no time, no level, no system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Of a header's flags.
const HEADER_SUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;

/// What a packed file holds; files one behind the other are one.
pub(crate) struct Decoder<R> {
    source: R,
    inflate: Box<InflateState>,
    sum: Sum,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Data,
    /// After a member: another one, or nothing.
    Between,
}

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(source: R) -> Decoder<R> {
        Decoder {
            source,
            inflate: InflateState::new_boxed(DataFormat::Raw),
            sum: Sum::NOTHING,
            at: At::Start,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut head = [0; 10];
        self.source.read_exact(&mut head)?;
        if head[..3] != HEAD[..3] {
            return Err(corrupt("it is not gzip"));
        }
        let flags = head[3];
        if flags & EXTRA != 0 {
            let mut length = [0; 2];
            self.source.read_exact(&mut length)?;
            self.skip(u64::from(u16::from_le_bytes(length)))?;
        }
        for text in [NAME, COMMENT] {
            if flags & text != 0 {
                self.source.skip_until(0)?;
            }
        }
        if flags & HEADER_SUM != 0 {
            self.skip(2)?;
        }
        self.inflate.reset_as(FullReset(DataFormat::Raw));
        self.sum = Sum::NOTHING;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> io::Result<()> {
        io::copy(&mut self.source.by_ref().take(count), &mut io::sink()).map(drop)
    }

    fn end(&mut self) -> io::Result<()> {
        let mut tail = [0; 8];
        self.source.read_exact(&mut tail)?;
        if tail == self.sum.tail() { Ok(()) } else { Err(corrupt("its gzip checksum is another")) }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !into.is_empty() {
            if self.at != At::Data {
                if self.at == At::Between && self.source.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                self.at = At::Data;
            }
            let packed = self.source.fill_buf()?;
            let is_over = packed.is_empty();
            let done = inflate(&mut self.inflate, packed, into, MZFlush::None);
            self.source.consume(done.bytes_consumed);
            self.sum.add(&into[..done.bytes_written]);
            match done.status {
                Ok(MZStatus::StreamEnd) => {
                    self.end()?;
                    self.at = At::Between;
                }
                Ok(_) => {}
                Err(_) if is_over => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(_) => return Err(corrupt("its gzip data is damaged")),
            }
            if done.bytes_written > 0 {
                return Ok(done.bytes_written);
            }
        }
        Ok(0)
    }
}

fn corrupt(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Packs what is written to it; the same bytes each time.
pub(crate) struct Encoder<W> {
    to: W,
    deflate: Box<CompressorOxide>,
    sum: Sum,
    is_begun: bool,
}

impl<W: Write> Encoder<W> {
    pub(crate) fn new(to: W) -> Encoder<W> {
        let mut deflate = Box::<CompressorOxide>::default();
        deflate.set_format_and_level(DataFormat::Raw, 6);
        Encoder { to, deflate, sum: Sum::NOTHING, is_begun: false }
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pack(&[], MZFlush::Finish)?;
        self.to.write_all(&self.sum.tail())?;
        Ok(self.to)
    }

    fn pack(&mut self, mut bytes: &[u8], flush: MZFlush) -> io::Result<()> {
        if !self.is_begun {
            self.to.write_all(&HEAD)?;
            self.is_begun = true;
        }
        let mut packed = [0; 16 * 1024];
        loop {
            let done = deflate(&mut self.deflate, bytes, &mut packed, flush);
            bytes = &bytes[done.bytes_consumed..];
            self.to.write_all(&packed[..done.bytes_written])?;
            match done.status {
                Ok(MZStatus::StreamEnd) => return Ok(()),
                Ok(_) if bytes.is_empty() && flush == MZFlush::None => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err(corrupt("the compressor went wrong")),
            }
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.sum.add(bytes);
            self.pack(bytes, MZFlush::None)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The CRC-32 of what went by, with its length: what a member ends with.
struct Sum {
    crc: u32,
    length: u32,
}

impl Sum {
    const NOTHING: Sum = Sum { crc: 0, length: 0 };

    fn add(&mut self, bytes: &[u8]) {
        self.crc = !bytes.iter().fold(!self.crc, |crc, byte| {
            let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
            TABLE[usize::from(low)] ^ (crc >> 8)
        });
        let [length, _] = split(bytes.len() as u64);
        self.length = self.length.wrapping_add(length);
    }

    fn tail(&self) -> [u8; 8] {
        let [crc, length] = [self.crc.to_le_bytes(), self.length.to_le_bytes()];
        [crc[0], crc[1], crc[2], crc[3], length[0], length[1], length[2], length[3]]
    }
}

/// Low half, high half: lengths are told modulo 2^32.
fn split(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Of one byte each, by the polynomial of RFC 1952 from its last bit on.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    let mut byte = 0;
    while at < 256 {
        let mut crc: u32 = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Decoder::new(packed).read_to_end(&mut bytes).map(|_| bytes)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        bytes.chunks(7000).for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap()
    }

    /// What the real program makes of it.
    fn gzip(arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut process = Command::new("gzip")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let input = input.to_owned();
        let feed = std::thread::spawn(move || stdin.write_all(&input).unwrap());
        let output = process.wait_with_output().unwrap();
        feed.join().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        output.stdout
    }

    /// Some of it can be packed, some cannot.
    fn samples() -> Vec<Vec<u8>> {
        let mut state = 1_u32;
        let mut noise = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        let noise: Vec<u8> = (0..300_000).map(&mut noise).collect();
        let text = b"the same again, ".repeat(20_000);
        vec![Vec::new(), b"a".to_vec(), text.clone(), noise.clone(), [text, noise].concat()]
    }

    #[test]
    fn it_packs_for_gzip_and_unpacks_what_gzip_packs() {
        for sample in samples() {
            assert!(gzip(&["-dc"], &packed(&sample)) == sample);
            assert!(unpacked(&gzip(&["-c"], &sample)).unwrap() == sample);
            assert!(unpacked(&packed(&sample)).unwrap() == sample);
        }
        let two = [packed(b"one "), packed(b""), packed(b"two")].concat();
        assert_eq!(unpacked(&two).unwrap(), b"one two");
    }

    #[test]
    fn every_field_of_a_header_is_skipped() {
        let plain = packed(b"text");
        let mut full = plain[..3].to_vec();
        full.extend([EXTRA | NAME | COMMENT | HEADER_SUM, 1, 2, 3, 4, 0, 3]);
        full.extend(b"\x03\0xyzname\0comment\0su");
        full.extend(&plain[10..]);
        assert_eq!(unpacked(&full).unwrap(), b"text");
    }

    #[test]
    fn what_is_cut_or_changed_is_an_error_and_never_other_bytes() {
        let sample = b"some text, some text, other text".repeat(50);
        let good = packed(&sample);
        for end in 0..good.len() {
            assert!(unpacked(&good[..end]).is_err(), "cut at {end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            // A header's time, level and system say nothing about the bytes.
            assert!(unpacked(&bad).map_or(true, |bytes| bytes == sample), "changed at {at}");
        }
        assert!(unpacked(b"").is_err());
        assert!(unpacked(&[good, b"rest".to_vec()].concat()).is_err());
    }
}
