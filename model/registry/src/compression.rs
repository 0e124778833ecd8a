//! Compressed bytes, and how long they may become when they are decompressed.

use std::io::Read;

/// Every body may become this long, in bytes.
///
/// A shard of 20,000 equal rows compresses very well and is valid.
const ALWAYS: u64 = 256 << 20;
/// A longer result may be this many times the body.
///
/// Text shrinks to a third, counts shrink less.
const FACTOR: u64 = 64;

/// Decompresses a body. The error says why that is impossible.
pub(crate) fn decompress(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    const BROKEN: &str = "it cannot be decompressed";
    let most = ALWAYS.max(FACTOR * body.len() as u64);
    let mut bytes = Vec::new();
    let decoder = zstd::stream::Decoder::new(body).map_err(|_| BROKEN)?;
    decoder.take(most + 1).read_to_end(&mut bytes).map_err(|_| BROKEN)?;
    if bytes.len() as u64 > most { Err("it becomes too long when it is decompressed") } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_becomes_a_gigabyte_is_refused_before_it_is_one() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(1 << 30), &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 1 << 20, "{} bytes are no bomb", bomb.len());
        assert_eq!(decompress(&bomb), Err("it becomes too long when it is decompressed"));
        let text = b"a row of a shard\n".repeat(1000);
        assert_eq!(decompress(&zstd::bulk::compress(&text, 1).unwrap()), Ok(text));
        assert_eq!(decompress(b"no zstd"), Err("it cannot be decompressed"));
    }
}
