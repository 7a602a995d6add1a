//! Output operations: what a stream's batches are for.

use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde_json::Value;
use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::CallSite;
use tidemill_engine::sink::console::print;
use tidemill_engine::sink::files::{FileFormat, FileSink};
use tidemill_engine::sink::text_files::TextFilesSink;
use tidemill_engine::sink::{Receipt, Sink};
use tidemill_engine::state::change::encode;
use tidemill_engine::state::shape::Shape;
use tidemill_engine::time::Time;

use super::{DStream, typed};
use crate::graph::OutputOp;
use crate::op::columns::{schema_of, to_batches};
use crate::rdd::{Rdd, local};

impl<T: Data> DStream<T> {
    /// Runs `f` on the RDD of every batch, on the driver, in the order of definition.
    ///
    /// # Errors
    /// After the start.
    #[track_caller]
    pub fn foreach_rdd(&self, f: impl Fn(Rdd<T>) -> Result<()> + Send + Sync + 'static) -> Result<()> {
        self.output("foreach_rdd", move |rdd, _| f(rdd))
    }

    /// [`DStream::foreach_rdd`], with the time of the batch.
    #[track_caller]
    pub fn foreach_rdd_with_time(&self, f: impl Fn(Rdd<T>, Time) -> Result<()> + Send + Sync + 'static) -> Result<()> {
        self.output("foreach_rdd", f)
    }

    #[track_caller]
    pub(crate) fn output(
        &self,
        name: &'static str,
        f: impl Fn(Rdd<T>, Time) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.output_of(self, name, f)
    }

    /// An output operation whose rows are those of `rows`: this stream has what became of them.
    #[track_caller]
    fn output_of<R: Data>(
        &self,
        rows: &DStream<R>,
        name: &'static str,
        f: impl Fn(Rdd<T>, Time) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.context().check_may_add()?;
        let (sc, of) = (self.sc().clone(), self.sc().clone());
        let body = Arc::new(move |data, time| f(typed(&sc, data), time));
        let show = Arc::new(move |data| typed::<R>(&of, data).collect()?.iter().map(shown).collect());
        let (call_site, node, shown) = (CallSite::here(), Arc::clone(self.node()), Arc::clone(rows.node()));
        self.context().graph().add_output(OutputOp { name, call_site, node, body, shown, show });
        Ok(())
    }

    /// Prints the first 10 rows of every batch.
    #[track_caller]
    pub fn print(&self) -> Result<()>
    where
        T: Debug,
    {
        self.print_first(10)
    }

    /// Prints the first `n` rows of every batch.
    #[track_caller]
    pub fn print_first(&self, n: usize) -> Result<()>
    where
        T: Debug,
    {
        self.output("print", move |rdd, time| {
            // One more than is printed shows whether there are more.
            let rows: Vec<String> = rdd.take(n.saturating_add(1))?.iter().map(|row| format!("{row:?}")).collect();
            print(&rows, n, time)
        })
    }

    /// Writes every batch, as a line for each row, to a sink; partitions are written by the tasks that compute them.
    #[track_caller]
    pub fn write_to(&self, sink: Arc<dyn Sink>) -> Result<()>
    where
        T: Display,
    {
        self.write("write_to", sink)
    }

    /// Writes every batch, in the columns of `schema`, to a sink; partitions are written by the tasks that compute them.
    /// [`schema_of`](crate::op::columns::schema_of) has the schema of a row type. The fields of a struct go to columns by name,
    /// those of a tuple in their order.
    ///
    /// # Errors
    /// After the start. A row that does not fit its columns fails its batch.
    #[track_caller]
    pub fn write_rows_to(&self, sink: Arc<dyn Sink>, schema: SchemaRef) -> Result<()> {
        self.write_columns("write_rows_to", sink, &schema)
    }

    /// Writes every batch into the table of data files in `folder`, each once, also after a crash (with a checkpoint folder): see
    /// [`FileSink`]. The columns are the fields of the rows.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill_dstream::testing::{TestContext, test_conf};
    /// use tidemill_engine::sink::files::{FileFormat, FileTable};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path();
    /// let context = TestContext::start(test_conf(), Duration::from_secs(1), true, |ssc| {
    ///     ssc.rate_stream(10)?.map(|n| (n, n % 2 == 0)).write_files(folder, FileFormat::Json)
    /// })?;
    /// for _ in 0..3 {
    ///     context.run_batch();
    /// }
    /// context.stop()?;
    /// assert_eq!(FileTable::open(folder)?.read()?.iter().map(|batch| batch.num_rows()).sum::<usize>(), 20);
    /// # Ok::<(), tidemill_engine::error::Error>(())
    /// ```
    ///
    /// # Errors
    /// After the start; if the type does not say its columns (then `write_rows_to` takes them), or the format has no form for them; if
    /// another output of this program writes there.
    #[track_caller]
    pub fn write_files(&self, folder: impl Into<PathBuf>, format: FileFormat) -> Result<()> {
        let schema = schema_of::<T>()?;
        format.check(&schema)?;
        let sink = self.file_sink(&folder.into(), format)?;
        self.write_columns("write_files", sink, &schema)
    }

    /// [`DStream::write_files`] of text: a line for each row.
    ///
    /// # Errors
    /// After the start; if another output of this program writes there.
    #[track_caller]
    pub fn write_text_files(&self, folder: impl Into<PathBuf>) -> Result<()>
    where
        T: Display,
    {
        let sink = self.file_sink(&folder.into(), FileFormat::Text)?;
        self.write("write_text_files", sink)
    }

    fn file_sink(&self, folder: &Path, format: FileFormat) -> Result<Arc<dyn Sink>> {
        self.context().check_may_add()?;
        let folder = local(folder)?;
        self.context().graph().claim(folder.display().to_string())?;
        Ok(Arc::new(FileSink::new(folder, format)))
    }

    #[track_caller]
    fn write(&self, name: &'static str, sink: Arc<dyn Sink>) -> Result<()>
    where
        T: Display,
    {
        self.context().graph().claim_sink(&sink)?;
        let lines = self.map(|row: T| row.to_string()).text().into_lines();
        let written = lines.then(crate::op::sink::write(self.sc(), Arc::clone(&sink)));
        written.commit_to(self, name, sink)
    }

    #[track_caller]
    fn write_columns(&self, name: &'static str, sink: Arc<dyn Sink>, schema: &SchemaRef) -> Result<()> {
        self.context().graph().claim_sink(&sink)?;
        let batches = to_batches::<T>(self.sc(), schema);
        let written = self.then(batches.then(crate::op::sink::write(self.sc(), Arc::clone(&sink))));
        written.commit_to(self, name, sink)
    }

    /// Writes every batch as lines into a directory `prefix-TIME[.suffix]`, TIME in milliseconds. One that is there from an
    /// earlier run of the same batch is replaced, in one step.
    #[track_caller]
    pub fn save_as_text_files(&self, prefix: impl Into<PathBuf>, suffix: &str) -> Result<()>
    where
        T: Display,
    {
        self.context().check_may_add()?;
        let prefix = local(&prefix.into())?.to_path_buf();
        let dot = if suffix.is_empty() { "" } else { "." };
        self.context().graph().claim(format!("{}-TIME{dot}{suffix}", prefix.display()))?;
        self.write("save_as_text_files", Arc::new(TextFilesSink::new(prefix, suffix)))
    }

    /// Writes every batch in encoded form into a directory `prefix-TIME[.suffix]`; for
    /// [`object_file`](crate::context::SparkContext::object_file).
    #[track_caller]
    pub fn save_as_object_files(&self, prefix: impl Into<PathBuf>, suffix: &str) -> Result<()> {
        let names = TextFilesSink::new(prefix, suffix);
        self.output("save_as_object_files", move |rdd, time| {
            let path = names.path(time);
            clear(&path)?;
            rdd.save_as_object_file(path)
        })
    }
}

impl DStream<String> {
    /// Commits every batch to the sink that gave these receipts, of `rows`.
    #[track_caller]
    fn commit_to<R: Data>(&self, rows: &DStream<R>, name: &'static str, sink: Arc<dyn Sink>) -> Result<()> {
        if !sink.is_idempotent() {
            tracing::info!(sink = sink.name(), "this sink may see a batch again after a failure");
        }
        self.output_of(rows, name, move |receipts, time| {
            let batch = BatchStamp::current().filter(|batch| batch.time == time);
            let batch = batch.ok_or_else(|| Error::internal("an output operation runs outside its batch"))?;
            sink.commit(batch, receipts.collect()?.into_iter().map(Receipt).collect())
        })
    }
}

/// A row for people: as JSON has it, or, where that has no form for it, as its encoded form shows it.
fn shown<R: Data>(row: &R) -> Result<Value> {
    match serde_json::to_value(row) {
        Ok(value) => Ok(value),
        Err(_) => Shape::of::<R>().show(encode(row, &mut Vec::new())?),
    }
}

fn clear(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::retry(format!("can't replace {}", path.display())).with_source(error))
        }
        _ => Ok(()),
    }
}
