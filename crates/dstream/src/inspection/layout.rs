//! How the changelog of an operator is read: what its keys and values are, apart from their shapes.

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};
use tidemill_engine::chunk::{binary_column, decode_row};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::state::operator_record::OperatorRecord;
use tidemill_engine::state::reader::StateRows;
use tidemill_engine::state::shape::Shape;

/// What kind of changelog an operator writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Keys and states.
    Plain,
    /// Keys, and states with the time at which they were last touched.
    Touched,
    /// The totals of a window, and the reduced pairs of each batch in it.
    Totals,
    /// Batch times and the rows of the batches.
    Batches,
}

/// The changelog of an operator.
pub struct Layout {
    form: Form,
    key: Shape,
    value: Shape,
    /// What batches hold is shown, not only how much.
    all: bool,
}

impl Layout {
    /// The layout of an operator's changelog; `all` shows the rows of batches, too.
    pub fn of(record: &OperatorRecord, all: bool) -> Self {
        let form = match record.kind.as_str() {
            "map_with_state" | "count_window" | "count_window_by_key" | "session_window" => Form::Touched,
            "reduce_by_key_and_window" => Form::Totals,
            "window" => Form::Batches,
            _ => Form::Plain,
        };
        let key = match form {
            Form::Totals => {
                let name = record.key.type_name.split_once('<').and_then(|(_, inner)| inner.strip_suffix('>'));
                record.key.of_variant("Total", name.unwrap_or(&record.key.type_name))
            }
            _ => record.key.clone(),
        };
        Self { form, key, value: record.value.clone(), all }
    }

    /// The name of the type of its keys.
    pub fn key_type(&self) -> &str {
        match self.form {
            Form::Batches => "batch time",
            _ => &self.key.type_name,
        }
    }

    /// The name of the type of its values.
    pub fn value_type(&self) -> &str {
        let name = self.value.type_name.as_str();
        match self.form {
            // A pair of the state and a time, whose own name has no comma.
            Form::Touched => {
                let pair = name.strip_prefix('(').and_then(|pair| pair.rsplit_once(", "));
                pair.map_or(name, |(state, _)| state)
            }
            _ => name,
        }
    }

    /// What stands in its columns, the key first.
    pub fn columns(&self) -> &'static [&'static str] {
        match (self.form, self.all) {
            (Form::Plain, _) => &["key", "value"],
            (Form::Touched, _) => &["key", "value", "touched_ms"],
            (Form::Totals, _) => &["key", "value", "of"],
            (Form::Batches, false) => &["time_ms", "rows"],
            (Form::Batches, true) => &["time_ms", "rows", "values"],
        }
    }

    /// Rows of lower numbers come before those of higher ones: totals before batches.
    pub fn order(&self, key: &[u8]) -> u8 {
        match self.form {
            Form::Totals => key.first().copied().unwrap_or_default(),
            _ => 0,
        }
    }

    /// The number of rows of a partition: of totals, and of rows in batches, where it has these.
    pub fn count(&self, rows: &StateRows) -> Result<usize> {
        match self.form {
            Form::Plain | Form::Touched => Ok(rows.len()),
            Form::Totals => Ok(rows.keys().filter(|key| key.first() == Some(&0)).count()),
            Form::Batches => rows.values().map(|rows| Ok(self.batch(rows, false)?.0)).sum(),
        }
    }

    /// The key of a row, and what stands in its other columns.
    ///
    /// # Errors
    /// If it is not of the shapes that the checkpoint names.
    pub fn row(&self, key: &[u8], value: &[u8]) -> Result<(Value, Vec<Value>)> {
        match self.form {
            Form::Plain => Ok((self.key.show(key)?, vec![self.value.show(value)?])),
            Form::Touched => {
                let columns = match self.value.show(value)? {
                    Value::Array(pair) if pair.len() == 2 => pair,
                    unknown => vec![unknown, Value::Null],
                };
                Ok((self.key.show(key)?, columns))
            }
            Form::Totals => self.total(key, value),
            Form::Batches => {
                let (count, values) = self.batch(value, self.all)?;
                let mut columns = vec![count.into()];
                columns.extend(self.all.then_some(Value::Array(values)));
                Ok((decode_row::<i64>(key)?.into(), columns))
            }
        }
    }

    /// Keys of a window's totals are numbered kinds: see [`crate::op::state::inverse::Row`].
    fn total(&self, key: &[u8], value: &[u8]) -> Result<(Value, Vec<Value>)> {
        match key.split_first() {
            Some((0, key)) => Ok((self.key.show(key)?, vec![self.value.show(value)?, json!("total")])),
            Some((1, time)) => Ok((decode_row::<i64>(time)?.into(), vec![self.pairs(value)?, json!("batch")])),
            Some((2, [])) => Ok((Value::Null, vec![decode_row::<i64>(value)?.into(), json!("end")])),
            _ => Err(Error::data("a key is none of a window's totals")),
        }
    }

    /// The number of pairs, or the pairs.
    fn pairs(&self, bytes: &[u8]) -> Result<Value> {
        let (count, mut rest) = postcard::take_from_bytes::<u64>(bytes)
            .map_err(|error| Error::data("the pairs of a batch have no number").with_source(error))?;
        if !self.all {
            return Ok(json!({ "pairs": count }));
        }
        let pair = |_| Ok(json!([self.key.show_first(&mut rest)?, self.value.show_first(&mut rest)?]));
        Ok(Value::Array((0..count).map(pair).collect::<Result<_>>()?))
    }

    /// The number of rows of a batch, and the rows.
    fn batch(&self, bytes: &[u8], all: bool) -> Result<(usize, Vec<Value>)> {
        let damaged = |error| Error::data("the rows of a batch can't be read").with_source(error);
        let (mut count, mut values) = (0, Vec::new());
        for batch in StreamReader::try_new(bytes, None).map_err(damaged)? {
            let batch = batch.map_err(damaged)?;
            count += batch.num_rows();
            if all {
                let rows = binary_column(&batch, 0)?;
                values.extend(rows.iter().flatten().map(|row| self.value.show(row)).collect::<Result<Vec<_>>>()?);
            }
        }
        Ok((count, values))
    }
}
