//! `TextScanExec`: reads files as lines, as fixed-length records or whole; gzip, bzip2, zstd and zlib by file name.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result as DfResult};
use datafusion_execution::TaskContext;
use datafusion_physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion_physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::stream;
use serde::{Deserialize, Serialize};

use crate::chunk::{BATCH_ROWS, rows_schema, text_schema};
use crate::codec::{NodeWire, from_wire, to_wire};
use crate::error::{Error, Result};
use crate::text::{FULL_BYTES, LineDecoder, MAX_LINE_BYTES};

/// The longest record, and the largest file that is read whole: Arrow counts the bytes of an array in 31 bits.
const MAX_VALUE_BYTES: usize = i32::MAX as usize;

/// How a `TextScanExec` travels.
pub const WIRE: NodeWire = NodeWire {
    name: "TextScanExec",
    encode: |plan| plan.downcast_ref::<TextScanExec>().map(|scan| to_wire(&(&scan.partitions, scan.form))),
    decode: |bytes, _, _| {
        let (partitions, form) = from_wire(bytes)?;
        Ok(Arc::new(TextScanExec::new(partitions, form)))
    },
};

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSplit {
    /// The file.
    pub path: String,
    /// The first byte.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
}

/// What is made of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileForm {
    /// Lines, as text. A line belongs to the split in which it starts.
    Lines,
    /// Records of this many bytes.
    Records(usize),
    /// The whole file, with its name.
    Whole,
}

/// The schema of whole files: `path: Utf8`, `content: Binary`.
pub fn whole_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("content", DataType::Binary, false),
        ]))
    });
    Arc::clone(&SCHEMA)
}

/// Reads file splits; one list of them per partition.
#[derive(Debug)]
pub struct TextScanExec {
    partitions: Vec<Vec<FileSplit>>,
    form: FileForm,
    properties: Arc<PlanProperties>,
}

impl TextScanExec {
    /// A scan.
    pub fn new(partitions: Vec<Vec<FileSplit>>, form: FileForm) -> Self {
        let schema = match form {
            FileForm::Lines => text_schema(),
            FileForm::Records(_) => rows_schema(),
            FileForm::Whole => whole_schema(),
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { partitions, form, properties }
    }
}

impl DisplayAs for TextScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextScanExec: {:?}, {} splits", self.form, self.partitions.iter().map(Vec::len).sum::<usize>())
    }
}

impl ExecutionPlan for TextScanExec {
    fn name(&self) -> &str {
        "TextScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let form = self.form;
        let batches = self.partitions[partition].clone().into_iter().flat_map(move |split| read_split(split, form));
        let batches = stream::iter(batches.map(|batch| batch.map_err(DataFusionError::from)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

fn read_split(split: FileSplit, form: FileForm) -> Batches {
    let batches = match form {
        FileForm::Lines => read_lines(split.clone()),
        FileForm::Records(length) => read_records(&split, length),
        FileForm::Whole => read_whole(&split),
    };
    batches.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
}

fn failed(path: &str) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| Error::data(format!("can't read {path}")).with_source(error)
}

/// Whether the file's name says that it is compressed; such a file has one split.
pub fn is_compressed(path: &str) -> bool {
    ["gz", "bz2", "zst", "deflate"].iter().any(|suffix| path.rsplit_once('.').is_some_and(|(_, end)| end == *suffix))
}

fn open(split: &FileSplit) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(&split.path).map_err(failed(&split.path))?;
    let suffix = split.path.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    Ok(match suffix {
        "gz" => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        "deflate" => Box::new(BufReader::new(flate2::read::ZlibDecoder::new(file))),
        "bz2" => Box::new(BufReader::new(bzip2::read::MultiBzDecoder::new(file))),
        "zst" => Box::new(BufReader::new(zstd::Decoder::new(file).map_err(failed(&split.path))?)),
        _ => Box::new(BufReader::with_capacity(256 << 10, file)),
    })
}

fn read_lines(split: FileSplit) -> Result<Batches> {
    let mut position = 0;
    let mut end = u64::MAX;
    let mut reader = if is_compressed(&split.path) {
        open(&split)?
    } else {
        let mut file = File::open(&split.path).map_err(failed(&split.path))?;
        end = split.end;
        // The split before this one reads the line that spans the border; so this one starts after the first line end
        // at or behind the byte before its start.
        position = split.start.saturating_sub(1);
        file.seek(SeekFrom::Start(position)).map_err(failed(&split.path))?;
        let mut reader: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(256 << 10, file));
        if split.start > 0 {
            position += skip_line(reader.as_mut()).map_err(failed(&split.path))?;
        }
        reader
    };
    let mut decoder = LineDecoder::new(MAX_LINE_BYTES);
    let mut done = false;
    Ok(Box::new(std::iter::from_fn(move || {
        while !done && decoder.len() < BATCH_ROWS && !decoder.is_full() {
            let bytes = match reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) => {
                    done = true;
                    return Some(Err(failed(&split.path)(error)));
                }
            };
            // Up to the split's end everything; behind it, the rest of the line that has begun before it.
            let taken = if position < end {
                usize::try_from(end - position).unwrap_or(usize::MAX).min(bytes.len())
            } else if decoder.in_line() {
                memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
            } else {
                0
            };
            decoder.feed(&bytes[..taken]);
            done = taken == 0;
            reader.consume(taken);
            position += taken as u64;
        }
        if done {
            decoder.finish();
        }
        let faults = decoder.take_faults();
        if !faults.is_empty() {
            metrics::counter!("tidemill_text_invalid_utf8_lines_total").increment(faults.invalid_utf8);
            metrics::counter!("tidemill_text_too_long_lines_total").increment(faults.too_long);
            tracing::warn!(file = split.path, "{}", faults.describe(MAX_LINE_BYTES));
        }
        (!decoder.is_empty()).then(|| decoder.take())
    })))
}

/// Reads up to and with the next line end; the number of bytes read.
fn skip_line(reader: &mut dyn BufRead) -> std::io::Result<u64> {
    let mut skipped = 0;
    loop {
        let bytes = reader.fill_buf()?;
        let (taken, found) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), bytes.is_empty()),
        };
        reader.consume(taken);
        skipped += taken as u64;
        if found {
            return Ok(skipped);
        }
    }
}

fn read_records(split: &FileSplit, length: usize) -> Result<Batches> {
    if length == 0 || length > MAX_VALUE_BYTES {
        return Err(Error::usage(format!("the record length must be from 1 to {MAX_VALUE_BYTES} bytes, not {length}")));
    }
    let mut reader = open(split)?;
    let path = split.path.clone();
    let mut done = false;
    // Long records come fewer at a time.
    let wanted = length * (FULL_BYTES / length).clamp(1, BATCH_ROWS);
    Ok(Box::new(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut bytes = Vec::new();
        if let Err(error) = reader.by_ref().take(wanted as u64).read_to_end(&mut bytes) {
            done = true;
            return Some(Err(failed(&path)(error)));
        }
        done = bytes.len() < wanted;
        let rest = bytes.len() % length;
        if rest != 0 {
            let place = format!("{path} is not a whole number of {length}-byte records: {rest} bytes are left over");
            return Some(Err(Error::data(place)));
        }
        let records: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes.chunks(length)));
        (!bytes.is_empty()).then(|| Ok(RecordBatch::try_new(rows_schema(), vec![records])?))
    })))
}

fn read_whole(split: &FileSplit) -> Result<Batches> {
    let mut content = Vec::new();
    open(split)?.take(MAX_VALUE_BYTES as u64 + 1).read_to_end(&mut content).map_err(failed(&split.path))?;
    if content.len() > MAX_VALUE_BYTES {
        return Err(Error::data(format!(
            "{} has more than the {MAX_VALUE_BYTES} bytes that one row may have",
            split.path
        )));
    }
    let path: ArrayRef = Arc::new(StringArray::from_iter_values([&split.path]));
    let content: ArrayRef = Arc::new(BinaryArray::from_iter_values([content]));
    Ok(Box::new(std::iter::once(Ok(RecordBatch::try_new(whole_schema(), vec![path, content])?))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::column;

    #[test]
    fn every_line_is_read_once_wherever_the_splits_lie() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.txt");
        let text = "one\n\ntwo two\r\nthree\n\n\nfour";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_string();
        let length = text.len() as u64;
        for border in 0..=length {
            for second in border..=length {
                let splits = [(0, border), (border, second), (second, length)];
                let mut lines = Vec::new();
                for (start, end) in splits.into_iter().filter(|(start, end)| start < end) {
                    for batch in read_split(FileSplit { path: path.clone(), start, end }, FileForm::Lines) {
                        let batch = batch.unwrap();
                        lines.extend(column::<StringArray>(&batch, 0).unwrap().iter().flatten().map(str::to_string));
                    }
                }
                assert_eq!(lines, ["one", "", "two two", "three", "", "", "four"], "{border} {second}");
            }
        }
    }

    #[test]
    fn long_lines_and_records_come_in_batches_that_arrow_can_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        let line = "x".repeat((1 << 20) - 1) + "\n";
        std::fs::write(&path, line.repeat(70)).unwrap();
        for form in [FileForm::Lines, FileForm::Records(1 << 20)] {
            let split = FileSplit { path: path.to_str().unwrap().into(), start: 0, end: 70 << 20 };
            let rows: Vec<usize> = read_split(split, form).map(|batch| batch.unwrap().num_rows()).collect();
            assert!(rows.len() > 1 && rows.iter().sum::<usize>() == 70, "{form:?} {rows:?}");
        }
        let split = FileSplit { path: path.to_str().unwrap().into(), start: 0, end: 70 << 20 };
        assert!(read_split(split, FileForm::Records(usize::MAX)).next().unwrap().is_err());
    }

    #[test]
    fn records_are_whole_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for (content, records) in [("", Some(0)), ("abcdef", Some(2)), ("abcdefg", None)] {
            let path = folder.path().join("records");
            std::fs::write(&path, content).unwrap();
            let split = FileSplit { path: path.to_str().unwrap().into(), start: 0, end: content.len() as u64 };
            let read = read_split(split, FileForm::Records(3)).collect::<Result<Vec<_>>>();
            assert_eq!(read.ok().map(|batches| batches.iter().map(RecordBatch::num_rows).sum()), records, "{content}");
        }
    }
}
