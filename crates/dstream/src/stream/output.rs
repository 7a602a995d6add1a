//! Output operations: what a stream's batches are for.

use std::fmt::{Debug, Display, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_engine::chunk::Data;
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::CallSite;
use tidemill_engine::time::Time;

use super::{DStream, typed};
use crate::graph::OutputOp;
use crate::rdd::Rdd;

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
            let rows = rdd.take(n.saturating_add(1))?;
            let text = printed(&rows, n, time);
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| Error::retry("can't write to the standard output").with_source(error))
        })
    }

    /// Writes every batch as lines into a directory `prefix-TIME[.suffix]`, TIME in milliseconds. One that is there from an
    /// earlier run of the same batch is replaced.
    #[track_caller]
    pub fn save_as_text_files(&self, prefix: impl Into<PathBuf>, suffix: &str) -> Result<()>
    where
        T: Display,
    {
        let (prefix, suffix) = (prefix.into(), suffix.to_string());
        self.output("save_as_text_files", move |rdd, time| {
            let path = batch_path(&prefix, &suffix, time);
            clear(&path)?;
            rdd.save_as_text_file(path)
        })
    }

    /// Writes every batch in encoded form into a directory `prefix-TIME[.suffix]`; for
    /// [`object_file`](crate::context::SparkContext::object_file).
    #[track_caller]
    pub fn save_as_object_files(&self, prefix: impl Into<PathBuf>, suffix: &str) -> Result<()> {
        let (prefix, suffix) = (prefix.into(), suffix.to_string());
        self.output("save_as_object_files", move |rdd, time| {
            let path = batch_path(&prefix, &suffix, time);
            clear(&path)?;
            rdd.save_as_object_file(path)
        })
    }
}

/// What `print` prints: the layout of Spark.
fn printed<T: Debug>(rows: &[T], n: usize, time: Time) -> String {
    let line = "-".repeat(43);
    let mut text = format!("{line}\nTime: {time}\n{line}\n");
    for row in rows.iter().take(n) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "{row:?}");
    }
    if rows.len() > n {
        text.push_str("...\n");
    }
    text.push('\n');
    text
}

/// The directory of a batch: the prefix may be empty, or end in a path.
fn batch_path(prefix: &std::path::Path, suffix: &str, time: Time) -> PathBuf {
    let mut path = prefix.as_os_str().to_os_string();
    if !path.is_empty() {
        path.push("-");
    }
    path.push(time.as_millis().to_string());
    if !suffix.is_empty() {
        path.push(".");
        path.push(suffix);
    }
    path.into()
}

fn clear(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::retry(format!("can't replace {}", path.display())).with_source(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_printed_as_spark_prints_them() {
        let line = "-".repeat(43);
        let head = format!("{line}\nTime: 1000 ms\n{line}\n");
        let cases: [(&[i32], &str); 3] = [(&[], "\n"), (&[1, 2], "1\n2\n\n"), (&[1, 2, 3], "1\n2\n...\n\n")];
        for (rows, body) in cases {
            assert_eq!(printed(rows, 2, Time::from_millis(1000)), format!("{head}{body}"));
        }
    }

    #[test]
    fn directories_are_named_after_prefix_time_and_suffix() {
        let path =
            |prefix: &str, suffix| batch_path(prefix.as_ref(), suffix, Time::from_millis(5)).display().to_string();
        assert_eq!(
            [path("a/b", ""), path("a", "txt"), path("", "txt"), path("", "")],
            ["a/b-5", "a-5.txt", "5.txt", "5"]
        );
    }
}
