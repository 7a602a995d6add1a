//! Rows as Arrow columns, for sinks that have columns: each field of a row is one.

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use serde::de::DeserializeOwned;
use serde_arrow::schema::{SchemaLike, TracingOptions};
use serde_arrow::utils::{Item, Items};
use tidemill_engine::chunk::{ArrowBatches, BATCH_ROWS, Chunk, Data};
use tidemill_engine::error::{Error, Result};
use tidemill_engine::function::{CallSite, Emit, Flow, Operator, OperatorTask, TaskInfo};

use crate::context::SparkContext;
use crate::dataset::Transform;

/// The name of the only column of rows that are no structs and no tuples.
const VALUE: &str = "value";

/// The columns of a row type: the fields of a struct, by name; those of a tuple, as `0`, `1` and so on; one column `value` of
/// anything else.
///
/// ```
/// # use tidemill_dstream::op::columns::schema_of;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Count {
///     word: String,
///     n: Option<u64>,
/// }
/// let fields = schema_of::<Count>()?.fields().iter().map(|f| f.to_string()).collect::<Vec<_>>();
/// assert_eq!(fields, [r#"Field { "word": Utf8 }"#, r#"Field { "n": nullable UInt64 }"#]);
/// # Ok::<(), tidemill_engine::error::Error>(())
/// ```
///
/// # Errors
/// If the type does not say what its columns are, as an enum with data or a type with a `Deserialize` of its own: give its schema
/// by hand.
pub fn schema_of<T: DeserializeOwned>() -> Result<SchemaRef> {
    let fields: Vec<FieldRef> = match trace::<T>() {
        Ok(fields) => fields,
        Err(error) => {
            let no_columns = |_| {
                let name = type_name::<T>();
                Error::usage(format!("the columns of {name} can't be told from its type: give its Arrow schema"))
                    .with_source(error)
            };
            trace::<Item<T>>().map_err(no_columns)?.iter().map(|field| renamed(field, VALUE)).collect()
        }
    };
    Ok(Arc::new(Schema::new(fields)))
}

/// [`schema_of`], with names of your own, as tuples need them.
///
/// # Errors
/// As `schema_of`, or if there are not as many names as columns.
pub fn schema_named<T: DeserializeOwned>(names: &[&str]) -> Result<SchemaRef> {
    let schema = schema_of::<T>()?;
    if names.len() != schema.fields().len() {
        let (row, columns, names) = (type_name::<T>(), schema.fields().len(), names.len());
        return Err(Error::usage(format!("{row} has {columns} columns and was given {names} names")));
    }
    let fields: Vec<FieldRef> = schema.fields().iter().zip(names).map(|(field, name)| renamed(field, name)).collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn renamed(field: &FieldRef, name: &str) -> FieldRef {
    Arc::new(field.as_ref().clone().with_name(name))
}

fn trace<T: DeserializeOwned>() -> serde_arrow::Result<Vec<FieldRef>> {
    let options = TracingOptions::default()
        .strings_as_large_utf8(false)
        .bytes_as_large_binary(false)
        .sequence_as_large_list(false)
        .allow_null_fields(true)
        .enums_without_data_as_strings(true);
    let fields = Vec::<FieldRef>::from_type::<T>(options)?;
    // The names of variants are traced as dictionaries, for which JSON and CSV have no reader.
    let plain = |field: FieldRef| match field.data_type() {
        DataType::Dictionary(_, value) => Arc::new(Field::new(field.name(), *value.clone(), field.is_nullable())),
        _ => field,
    };
    Ok(fields.into_iter().map(plain).collect())
}

/// Rows to Arrow batches of a schema: structs by the names of their fields, tuples by their order.
#[track_caller]
pub fn to_batches<T: Data>(sc: &SparkContext, schema: &SchemaRef) -> Transform<RecordBatch> {
    // A row that is no struct and no tuple has no columns of its own.
    let is_value = trace::<T>().is_err() && trace::<Item<T>>().is_ok() && schema.fields().len() == 1;
    let encode = Encode::<T> { schema: Arc::clone(schema), is_value, rows: PhantomData };
    let function = sc.functions().register("to_batches", CallSite::here(), &ArrowBatches, Arc::new(encode));
    Transform::narrow("to_batches", function)
}

struct Encode<T> {
    schema: SchemaRef,
    is_value: bool,
    rows: PhantomData<fn() -> T>,
}

struct EncodeTask<T> {
    schema: SchemaRef,
    is_value: bool,
    builder: serde_arrow::ArrayBuilder,
    pending: usize,
    rows: PhantomData<fn() -> T>,
}

impl<T: Data> Operator for Encode<T> {
    fn open(&self, _: TaskInfo) -> Result<Box<dyn OperatorTask>> {
        let (schema, is_value) = (Arc::clone(&self.schema), self.is_value);
        let fields: Vec<FieldRef> = match is_value {
            true => schema.fields().iter().map(|field| renamed(field, "item")).collect(),
            false => schema.fields().to_vec(),
        };
        let builder = serde_arrow::ArrayBuilder::from_arrow(&fields).map_err(|error| {
            Error::usage(format!("{} can't be made into columns of these types", type_name::<T>())).with_source(error)
        })?;
        Ok(Box::new(EncodeTask { schema, is_value, builder, pending: 0, rows: PhantomData::<fn() -> T> }))
    }
}

impl<T: Data> EncodeTask<T> {
    fn flush(&mut self, out: &mut Emit<'_>) -> Result<Flow> {
        self.pending = 0;
        let batch = self.builder.to_record_batch().map_err(failed::<T>)?;
        out(Chunk::of(RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?))
    }
}

impl<T: Data> OperatorTask for EncodeTask<T> {
    fn push(&mut self, _: usize, chunk: Chunk, out: &mut Emit<'_>) -> Result<Flow> {
        let rows: Vec<T> = chunk.take()?;
        self.pending += rows.len();
        let added = if self.is_value { self.builder.extend(Items(&rows)) } else { self.builder.extend(&rows) };
        added.map_err(failed::<T>)?;
        if self.pending < BATCH_ROWS { Ok(Flow::More) } else { self.flush(out) }
    }

    fn finish(&mut self, out: &mut Emit<'_>) -> Result<()> {
        if self.pending > 0 { self.flush(out).map(drop) } else { Ok(()) }
    }
}

fn failed<T>(error: serde_arrow::Error) -> Error {
    Error::data(format!("a {} does not fit the columns it is to be written to", type_name::<T>())).with_source(error)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    enum Kind {
        Odd,
        Even,
    }

    #[derive(Serialize, Deserialize)]
    struct Row {
        name: String,
        kind: Kind,
        tags: Vec<String>,
        at: Option<f64>,
    }

    #[test]
    fn types_say_their_columns() {
        let columns = |schema: Result<SchemaRef>| match schema {
            Ok(schema) => {
                let column = |field: &FieldRef| {
                    format!("{}:{}{}", field.name(), field.data_type(), if field.is_nullable() { "?" } else { "" })
                };
                schema.fields().iter().map(column).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.message().to_string(),
        };
        let cases = [
            (schema_of::<(String, u64)>(), "0:Utf8 1:UInt64"),
            (schema_named::<(String, u64)>(&["word", "n"]), "word:Utf8 n:UInt64"),
            (
                schema_named::<(String, u64)>(&["word"]),
                "(alloc::string::String, u64) has 2 columns and was given 1 names",
            ),
            (schema_of::<String>(), "value:Utf8"),
            (schema_of::<Option<i32>>(), "value:Int32?"),
        ];
        for (schema, expected) in cases {
            assert_eq!(columns(schema), expected);
        }
        let row = columns(schema_of::<Row>());
        assert!(
            row.starts_with("name:Utf8 kind:Utf8 ") && row.contains("tags:List(") && row.ends_with("at:Float64?"),
            "{row}"
        );
        let error = schema_of::<anything::Any>().unwrap_err();
        assert!(error.message().contains("can't be told from its type: give its Arrow schema"), "{error}");
        let _ = (Kind::Odd, Kind::Even);
    }

    /// A type that takes whatever comes.
    mod anything {
        pub struct Any;

        impl<'de> serde::Deserialize<'de> for Any {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(serde::de::IgnoredAny).map(|_| Any)
            }
        }
    }
}
