//! Streams of files that appear in a directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::error::{Error, Result};
use tidemill_engine::operator::text_scan::FileForm;
use tidemill_engine::source::file::{FileSettings, FileSource};
use tidemill_engine::time::millis;

use crate::op::narrow::{records_to_bytes, text_to_strings};
use crate::rdd::create::local_path;
use crate::stream::DStream;
use crate::streaming_context::StreamingContext;

impl StreamingContext {
    /// The lines of files that appear in a directory (or a glob of directories) after the start. Files must be moved there
    /// complete; names that begin with a dot are left out; `.gz`, `.bz2`, `.zst` and `.deflate` are decompressed.
    ///
    /// A file counts for `spark.streaming.fileStream.minRememberDuration` (60 s): one that shows up with an older
    /// modification time is not seen.
    pub fn text_file_stream(&self, directory: &str) -> Result<DStream<String>> {
        self.file_stream(directory, |path| !is_hidden(path), true)
    }

    /// [`StreamingContext::text_file_stream`] with a filter of file names, and a choice whether files that are there at the
    /// start count, too.
    pub fn file_stream(
        &self,
        directory: &str,
        filter: impl Fn(&Path) -> bool + Send + Sync + 'static,
        new_files_only: bool,
    ) -> Result<DStream<String>> {
        let strings = text_to_strings(self.spark_context().functions());
        let source = self.file_source(directory, filter, new_files_only, FileForm::Lines)?;
        self.source_stream("text_file_stream", source, move |data| data.op(&strings))
    }

    /// The records, of `record_length` bytes each, of files that appear in a directory after the start.
    pub fn binary_records_stream(&self, directory: &str, record_length: usize) -> Result<DStream<Vec<u8>>> {
        if record_length == 0 {
            return Err(Error::usage("the record length must be greater than 0"));
        }
        let records = records_to_bytes(self.spark_context().functions());
        let source = self.file_source(directory, |path| !is_hidden(path), true, FileForm::Records(record_length))?;
        self.source_stream("binary_records_stream", source, move |data| data.op(&records))
    }

    fn file_source(
        &self,
        directory: &str,
        filter: impl Fn(&Path) -> bool + Send + Sync + 'static,
        new_files_only: bool,
        form: FileForm,
    ) -> Result<Arc<FileSource>> {
        let conf = self.spark_context().conf();
        let (second, default) = (Duration::from_secs(1), Duration::from_secs(60));
        let old_name = conf.get_duration("spark.streaming.minRememberDuration", second, default)?;
        let least = conf.get_duration("spark.streaming.fileStream.minRememberDuration", second, old_name)?;
        // Whole batches, as many as it takes.
        let batches = millis(least).max(1).unsigned_abs().div_ceil(millis(self.batch_duration()).unsigned_abs().max(1));
        let remember = self.batch_duration() * u32::try_from(batches).unwrap_or(u32::MAX);
        let (directory, filter) = (local_path(directory)?.to_string(), Box::new(filter));
        Ok(Arc::new(FileSource::new(FileSettings { directory, new_files_only, remember, filter, form })))
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with('.'))
}
