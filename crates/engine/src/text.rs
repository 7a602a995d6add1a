//! Bytes to lines: bounded in size, and honest about what isn't UTF-8.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};

use crate::chunk::text_schema;
use crate::error::Result;

/// The longest line that is kept, unless a reader is told otherwise: 16 MiB.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// The longest limit that a reader may set: with every byte replaced by U+FFFD, such a line still fits into an Arrow array.
pub const HIGHEST_MAX_LINE_BYTES: usize = 512 << 20;

/// A decoder that holds so many bytes of complete lines should be emptied: Arrow counts the bytes of an array in 31 bits.
pub const FULL_BYTES: usize = 64 << 20;

/// What a decoder met that it could not take as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineFaults {
    /// Lines that are not UTF-8: kept, each bad sequence replaced by U+FFFD.
    pub invalid_utf8: u64,
    /// Lines over the limit: skipped.
    pub too_long: u64,
}

impl LineFaults {
    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What happened, for people.
    pub fn describe(&self, limit: usize) -> String {
        let mut parts = Vec::new();
        if self.invalid_utf8 > 0 {
            parts.push(format!("{} lines are not UTF-8, bad bytes replaced by U+FFFD", self.invalid_utf8));
        }
        if self.too_long > 0 {
            parts.push(format!("{} lines longer than {limit} bytes skipped", self.too_long));
        }
        parts.join("; ")
    }
}

/// The number of line ends in `bytes`.
pub fn line_ends(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// Splits `bytes` behind the line end number `lines`, counted from 1; all of them if there are fewer.
pub fn split_lines(bytes: &[u8], lines: usize) -> (&[u8], &[u8]) {
    let end = lines.checked_sub(1).and_then(|before| memchr::memchr_iter(b'\n', bytes).nth(before));
    bytes.split_at(end.map_or(bytes.len(), |end| end + 1))
}

/// Cuts a stream of bytes into lines at `\n`; a `\r` before it belongs to the line end.
///
/// Holds at most one incomplete line under the limit, whatever arrives; complete lines are held until they are taken.
pub struct LineDecoder {
    limit: usize,
    partial: Vec<u8>,
    skipping: bool,
    lines: StringBuilder,
    count: usize,
    faults: LineFaults,
}

impl LineDecoder {
    /// A decoder that skips lines of more than `limit` bytes; a limit above [`HIGHEST_MAX_LINE_BYTES`] is that one.
    pub fn new(limit: usize) -> Self {
        let (partial, lines, limit) = (Vec::new(), StringBuilder::new(), limit.min(HIGHEST_MAX_LINE_BYTES));
        Self { limit, partial, skipping: false, lines, count: 0, faults: LineFaults::default() }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, tail) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() && !self.skipping {
                self.line(head);
            } else {
                self.extend(head);
                self.end_line();
            }
            bytes = tail;
        }
        self.extend(bytes);
    }

    /// The input has ended; what stands after the last `\n` is a line too.
    pub fn finish(&mut self) {
        if self.in_line() {
            self.end_line();
        }
    }

    /// The number of complete lines since the last [`LineDecoder::take`].
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no complete line.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes that complete lines take: what [`LineDecoder::take`] frees.
    pub fn line_bytes(&self) -> usize {
        self.lines.values_slice().len() + self.count * size_of::<i32>()
    }

    /// The bytes that complete lines and the beginning of the next one take.
    pub fn held_bytes(&self) -> usize {
        self.partial.len() + self.lines.values_slice().len()
    }

    /// Whether it holds so much that it should be emptied before it is fed again.
    pub fn is_full(&self) -> bool {
        self.lines.values_slice().len() >= FULL_BYTES
    }

    /// Whether a line has begun and not ended.
    pub fn in_line(&self) -> bool {
        !self.partial.is_empty() || self.skipping
    }

    /// The complete lines so far, as a batch.
    pub fn take(&mut self) -> Result<RecordBatch> {
        self.count = 0;
        Ok(RecordBatch::try_new(text_schema(), vec![Arc::new(self.lines.finish()) as ArrayRef])?)
    }

    /// The faults since this was last asked.
    pub fn take_faults(&mut self) -> LineFaults {
        std::mem::take(&mut self.faults)
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        // One more for a `\r` that will turn out to belong to the line end.
        if self.partial.len() + bytes.len() > self.limit + 1 {
            self.skipping = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.skipping) {
            self.faults.too_long += 1;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            self.line(&line);
            line.clear();
            self.partial = line;
        }
    }

    fn line(&mut self, bytes: &[u8]) {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() > self.limit {
            self.faults.too_long += 1;
            return;
        }
        match std::str::from_utf8(bytes) {
            Ok(line) => self.lines.append_value(line),
            Err(_) => {
                self.faults.invalid_utf8 += 1;
                self.lines.append_value(String::from_utf8_lossy(bytes));
            }
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::column;
    use arrow::array::StringArray;

    fn decode(pieces: &[&[u8]], limit: usize) -> (Vec<String>, LineFaults) {
        let mut decoder = LineDecoder::new(limit);
        pieces.iter().for_each(|piece| decoder.feed(piece));
        decoder.finish();
        let batch = decoder.take().unwrap();
        let lines = column::<StringArray>(&batch, 0).unwrap().iter().flatten().map(str::to_string).collect();
        (lines, decoder.take_faults())
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        type Case = (&'static [u8], usize, &'static [&'static str], u64, u64);
        let cases: [Case; 7] = [
            (b"", 9, &[], 0, 0),
            (b"a\nb\r\n\nc", 9, &["a", "b", "", "c"], 0, 0),
            (b"a\rb\n", 9, &["a\rb"], 0, 0),
            (b"12345\n123456\n7\n", 5, &["12345", "7"], 0, 1),
            (b"12345\r\n123456\r\n7", 5, &["12345", "7"], 0, 1),
            (b"ok\n\xff\xfe!\n", 9, &["ok", "\u{fffd}\u{fffd}!"], 1, 0),
            (b"1234567890123", 5, &[], 0, 1),
        ];
        for (bytes, limit, lines, invalid_utf8, too_long) in cases {
            let faults = LineFaults { invalid_utf8, too_long };
            let expected = (lines.iter().map(|line| line.to_string()).collect(), faults);
            assert_eq!(decode(&[bytes], limit), expected, "{bytes:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(decode(&single, limit), expected, "{bytes:?} byte by byte");
        }
    }

    #[test]
    fn bytes_are_split_behind_a_line_end() {
        let text: &[u8] = b"a\nbb\nccc";
        assert_eq!(line_ends(text), 2);
        let split = |lines| split_lines(text, lines).0.len();
        assert_eq!([split(1), split(2), split(3)], [2, 5, 8]);
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let mut decoder = LineDecoder::new(MAX_LINE_BYTES);
        let piece = vec![b'x'; 64 << 10];
        let mut most = 0;
        for _ in 0..(100 << 20) / piece.len() {
            decoder.feed(&piece);
            most = most.max(decoder.held_bytes());
        }
        assert!(most <= MAX_LINE_BYTES + 1, "{most}");
        decoder.feed(b"\nnext\n");
        assert_eq!((decoder.len(), decoder.take_faults().too_long), (1, 1));
        assert_eq!(column::<StringArray>(&decoder.take().unwrap(), 0).unwrap().value(0), "next");
        // What was skipped at the end of one input does not reach into the next one.
        decoder.feed(&vec![b'y'; MAX_LINE_BYTES + 2]);
        decoder.finish();
        decoder.feed(b"fresh\n");
        assert_eq!((decoder.len(), decoder.take_faults().too_long, decoder.in_line()), (1, 1, false));
    }

    #[test]
    fn a_decoder_says_when_it_is_full() {
        let mut decoder = LineDecoder::new(MAX_LINE_BYTES);
        let mut line = vec![b'x'; 1 << 20];
        line.push(b'\n');
        while !decoder.is_full() {
            assert!(decoder.len() < 65);
            decoder.feed(&line);
        }
        assert_eq!(decoder.take().unwrap().num_rows(), 64);
        assert!(!decoder.is_full() && decoder.held_bytes() == 0);
    }
}
