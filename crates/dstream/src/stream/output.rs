//! Output operations: what a stream's batches are for.

use std::fmt::{Debug, Display};
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_engine::batch::BatchStamp;
use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::CallSite;
use tidemill_engine::sink::console::print;
use tidemill_engine::sink::text_files::TextFilesSink;
use tidemill_engine::sink::{Receipt, Sink};
use tidemill_engine::time::Time;

use super::{DStream, typed};
use crate::graph::OutputOp;
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
        self.context().check_may_add()?;
        let sc = self.sc().clone();
        let body = Arc::new(move |data, time| f(typed(&sc, data), time));
        let (call_site, node) = (CallSite::here(), Arc::clone(self.node()));
        self.context().graph().add_output(OutputOp { name, call_site, node, body });
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

    #[track_caller]
    fn write(&self, name: &'static str, sink: Arc<dyn Sink>) -> Result<()>
    where
        T: Display,
    {
        if !sink.is_idempotent() {
            tracing::info!(sink = sink.name(), "this sink may see a batch again after a failure");
        }
        let lines = self.map(|row: T| row.to_string()).text().into_lines();
        let written = lines.then(crate::op::sink::write(self.sc(), Arc::clone(&sink)));
        written.output(name, move |receipts, time| {
            let batch = BatchStamp::current().filter(|batch| batch.time == time);
            let batch = batch.ok_or_else(|| Error::internal("an output operation runs outside its batch"))?;
            sink.commit(batch, receipts.collect()?.into_iter().map(Receipt).collect())
        })
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

fn clear(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::retry(format!("can't replace {}", path.display())).with_source(error))
        }
        _ => Ok(()),
    }
}
