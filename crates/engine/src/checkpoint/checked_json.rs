//! JSON files of a checkpoint: the JSON, a line end, and the CRC-32 of the JSON in hexadecimal.

use bytes::Bytes;

/// The body of the file with this JSON.
pub fn checked(json: &str) -> Bytes {
    format!("{json}\n{}", checksum(json)).into()
}

/// The JSON of a file; `None` if its checksum does not match.
pub fn check(body: &[u8]) -> Option<&str> {
    let (json, crc) = std::str::from_utf8(body).ok()?.split_once('\n')?;
    (crc == checksum(json)).then_some(json)
}

fn checksum(json: &str) -> String {
    format!("{:08x}", crc32fast::hash(json.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flip_is_noticed() {
        let body = checked("{\"a\":1}");
        assert_eq!(check(&body), Some("{\"a\":1}"));
        for at in 0..body.len() {
            let mut flipped = body.to_vec();
            flipped[at] ^= 1;
            assert_eq!(check(&flipped), None, "{at}");
            assert_eq!(check(&body[..at]), None, "{at}");
        }
    }
}
