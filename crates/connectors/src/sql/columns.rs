//! Arrow columns as values of SQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::FormatOptions;
use tidemill_engine::error::{Error, Result};

/// Whether every column has a form in SQL.
///
/// # Errors
/// If one has none: the error names it.
pub(super) fn check(schema: &Schema) -> Result<()> {
    let has_form = |field: &&Arc<Field>| {
        let data_type = field.data_type();
        data_type.is_integer()
            || is_text(data_type)
            || is_bytes(data_type)
            || matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Boolean | DataType::Null)
            || matches!(data_type, DataType::Timestamp(..))
    };
    match schema.fields().iter().find(|field| !has_form(field)) {
        None => Ok(()),
        Some(field) => Err(Error::usage(format!(
            "column {} is a {}, which has no form in SQL here: make text, a number, bytes or a timestamp of it",
            field.name(),
            field.data_type()
        ))),
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

pub(super) fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// The names of the columns.
pub(super) fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// How timestamps become text: formats of chrono's, for those without a zone and for those with one, which are in UTC by then.
pub(super) struct Timestamps {
    pub naive: &'static str,
    pub zoned: &'static str,
}

/// The columns in the few types that `of` chooses.
pub(super) fn cast_columns(
    rows: &RecordBatch,
    timestamps: &Timestamps,
    of: impl Fn(&DataType) -> DataType,
) -> Result<Vec<ArrayRef>> {
    let format = FormatOptions::new()
        .with_timestamp_format(Some(timestamps.naive))
        .with_timestamp_tz_format(Some(timestamps.zoned));
    let options = CastOptions { safe: false, format_options: format };
    let cast = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let data_type = field.data_type();
        let cast_to = |column: &ArrayRef, data_type: &DataType| {
            cast_with_options(column, data_type, &options).map_err(|error| {
                Error::data(format!("column {} has a value that does not fit", field.name())).with_source(error)
            })
        };
        match data_type {
            DataType::Timestamp(unit, Some(_)) => {
                let utc = cast_to(column, &DataType::Timestamp(*unit, Some("+00:00".into())))?;
                cast_to(&utc, &of(data_type))
            }
            _ => cast_to(column, &of(data_type)),
        }
    };
    rows.schema_ref().fields().iter().zip(rows.columns()).map(cast).collect()
}

/// `CREATE TABLE` for rows of a schema.
pub(super) fn create_table(
    table: &str,
    keys: &[String],
    schema: &Schema,
    of: impl Fn(&DataType) -> &'static str,
) -> String {
    use super::database::{list, quoted};
    let column = |field: &Arc<Field>| {
        let is_needed = !field.is_nullable() || keys.contains(field.name());
        let constraint = if is_needed { " NOT NULL" } else { "" };
        format!("{} {}{constraint}", quoted(field.name()), of(field.data_type()))
    };
    let mut parts: Vec<String> = schema.fields().iter().map(column).collect();
    if !keys.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(keys)));
    }
    format!("CREATE TABLE IF NOT EXISTS {table} ({})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_without_a_form_is_named() {
        let list = DataType::List(Arc::new(Field::new("item", DataType::Int32, true)));
        let schema =
            |data_type| Schema::new(vec![Field::new("a", DataType::Int8, true), Field::new("b", data_type, true)]);
        for fits in [DataType::UInt64, DataType::Utf8View, DataType::Null, DataType::LargeBinary] {
            check(&schema(fits)).unwrap();
        }
        let error = check(&schema(list)).unwrap_err();
        assert!(error.message().starts_with("column b is a List("), "{error}");
    }

    #[test]
    fn tables_are_made_with_their_keys() {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("a \"b\"", DataType::Int8, true),
            Field::new("c", DataType::Int8, false),
        ]);
        let made = create_table("\"t\"", &["k".to_string()], &schema, |_| "x");
        let expected = "CREATE TABLE IF NOT EXISTS \"t\" (\"k\" x NOT NULL, \"a \"\"b\"\"\" x, \"c\" x NOT NULL, PRIMARY KEY (\"k\"))";
        assert_eq!(made, expected);
    }
}
