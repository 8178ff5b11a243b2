//! How blocks of squashfs images are unpacked; none are packed, so no compressor is part of the agent.

use std::io;

use backhand::compression::{CompressionAction, Compressor};
use backhand::kind::Kind;
use backhand::{BackhandError, FilesystemCompressor, SuperBlock};
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

/// Bytes of the largest block that squashfs has.
const LARGEST_BLOCK: usize = 1024 * 1024;

#[derive(Clone, Copy)]
struct Inflate;

/// What backhand is to read images with.
pub(crate) fn kind() -> Kind {
    Kind::new(&Inflate)
}

impl CompressionAction for Inflate {
    fn decompress(
        &self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        compressor: Compressor,
    ) -> Result<(), BackhandError> {
        if compressor != Compressor::Gzip {
            return Err(BackhandError::UnsupportedCompression(compressor));
        }
        let block = decompress_to_vec_zlib_with_limit(bytes, LARGEST_BLOCK)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        out.extend_from_slice(&block);
        Ok(())
    }

    fn compress(&self, _: &[u8], _: FilesystemCompressor, _: u32) -> Result<Vec<u8>, BackhandError> {
        Err(BackhandError::UnsupportedCompression(Compressor::None))
    }

    fn compression_options(
        &self,
        _: &mut SuperBlock,
        _: &Kind,
        _: FilesystemCompressor,
    ) -> Result<Vec<u8>, BackhandError> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read};

    use backhand::compression::Compressor;
    use backhand::{FilesystemCompressor, FilesystemReader, FilesystemWriter, InnerNode, NodeHeader};

    #[test]
    fn what_was_packed_with_gzip_is_read() {
        let content = b"the same again ".repeat(100_000);
        let mut image = FilesystemWriter::default();
        image.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
        image.push_file(Cursor::new(content.clone()), "/file", NodeHeader::default()).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        image.write(&mut bytes).unwrap();
        assert!(bytes.get_ref().len() < content.len() / 10);
        let read = FilesystemReader::from_reader_with_offset_and_kind(
            Cursor::new(bytes.into_inner()),
            0,
            super::kind(),
        )
        .unwrap();
        let mut found = Vec::new();
        for node in read.files() {
            if let InnerNode::File(file) = &node.inner {
                read.file(file).reader().read_to_end(&mut found).unwrap();
            }
        }
        assert_eq!(found, content);
    }
}
