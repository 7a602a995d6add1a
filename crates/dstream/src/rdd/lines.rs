//! Text that the driver holds, as Arrow.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use datafusion_datasource::memory::MemorySourceConfig;
use tidemill_engine::chunk::{BATCH_ROWS, text_schema};
use tidemill_engine::error::Result;
use tidemill_engine::lineage::Lineage;

use super::Rdd;
use crate::context::SparkContext;
use crate::dataset::Dataset;
use crate::op::narrow::text_to_strings;

impl SparkContext {
    /// Lines that the driver holds, as Arrow text in `partitions` partitions: [`Rdd::text`] borrows from it without a copy.
    pub fn text_lines<'a>(&self, lines: impl IntoIterator<Item = &'a str>, partitions: usize) -> Result<Rdd<String>> {
        let lines: Vec<&str> = lines.into_iter().collect();
        let (total, partitions) = (lines.len(), partitions.max(1));
        let part = |n: usize| &lines[n * total / partitions..(n + 1) * total / partitions];
        let batch = |rows: &[&str]| {
            let rows = Arc::new(StringArray::from_iter_values(rows));
            Ok(RecordBatch::try_new(text_schema(), vec![rows])?)
        };
        let batches = |n: usize| part(n).chunks(BATCH_ROWS).map(batch).collect::<Result<Vec<_>>>();
        self.text_batches((0..partitions).map(batches).collect::<Result<Vec<_>>>()?)
    }

    /// Arrow text that the driver holds: for each partition its batches, of one column `value: Utf8`. Nothing is copied.
    pub fn text_batches(&self, partitions: Vec<Vec<RecordBatch>>) -> Result<Rdd<String>> {
        let rows = partitions.iter().flatten().map(RecordBatch::num_rows).sum();
        let scan = Lineage::scan(MemorySourceConfig::try_new_exec(&partitions, text_schema(), None)?, rows);
        Ok(Rdd::from_dataset(self, Dataset::new(scan).op(&text_to_strings(self.functions()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_into_partitions_in_order() {
        let sc = SparkContext::new("local[2]", "test").unwrap();
        for (lines, partitions) in [(0, 1), (1, 3), (20_000, 2)] {
            let lines: Vec<String> = (0..lines).map(|n| n.to_string()).collect();
            let rdd = sc.text_lines(lines.iter().map(String::as_str), partitions).unwrap();
            assert_eq!((rdd.num_partitions(), rdd.collect().unwrap()), (partitions, lines.clone()));
            assert_eq!(rdd.text().count().unwrap(), lines.len() as u64);
        }
    }
}
