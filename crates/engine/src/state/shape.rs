//! What the encoded keys and values of a state look like: so that another version of a program can tell whether they are its own, and
//! people can read them without the program.

mod explorer;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_reflection::{ContainerFormat, Format, Named, Registry, Tracer, TracerConfig, VariantFormat};

use self::explorer::{Explored, explore};
use crate::error::{Error, Result};
use crate::function::catch_panic;

/// Types within types, at most, of a value that is read.
const MAX_DEPTH: usize = 128;

/// A serde type: its name, and its form, if that can be found out without a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The name that Rust has for it, which a program may change.
    pub type_name: String,
    form: Option<Form>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Form {
    root: Format,
    types: Registry,
}

impl Shape {
    /// The shape of a type. Types that refuse the values that they are tried with have a name only, and so have those in which two types, or
    /// two variants, have the same name.
    pub fn of<T: DeserializeOwned>() -> Self {
        let traced = || {
            let mut tracer = Tracer::new(TracerConfig::default());
            let root = tracer.trace_simple_type::<T>().map(|(format, _)| format).ok()?;
            Some(Form { root, types: tracer.registry().ok()? })
        };
        // The tracer finds all variants of the outermost enum only, and may not come back from an enum within itself.
        let form = catch_panic("reading a type", || {
            let Explored { has_inner_enums, form } = explore::<T>();
            Ok(if has_inner_enums { form.map(|(root, types)| Form { root, types }) } else { traced() })
        });
        Self { type_name: std::any::type_name::<T>().to_string(), form: form.unwrap_or_default() }
    }

    /// Whether what was written as `self` can be read as `other`, whose enums may have more variants behind those of `self`.
    pub fn fits(&self, other: &Shape) -> bool {
        match (&self.form, &other.form) {
            (Some(own), Some(other)) => {
                let is_read = |(name, own): (&String, &ContainerFormat)| match (own, other.types.get(name)) {
                    (ContainerFormat::Enum(own), Some(ContainerFormat::Enum(other))) => {
                        own.iter().all(|(number, variant)| other.get(number) == Some(variant))
                    }
                    (own, other) => other == Some(own),
                };
                own.root == other.root && own.types.iter().all(is_read)
            }
            _ => self.type_name == other.type_name,
        }
    }

    /// The shape of what a variant of an enum holds, if that is one value. `type_name` is its name.
    pub fn of_variant(&self, variant: &str, type_name: &str) -> Self {
        let root = self.form.as_ref().and_then(|form| {
            let Format::TypeName(name) = &form.root else { return None };
            let Some(ContainerFormat::Enum(variants)) = form.types.get(name) else { return None };
            match &variants.values().find(|named| named.name == variant)?.value {
                VariantFormat::NewType(content) => Some(content.as_ref().clone()),
                _ => None,
            }
        });
        let types = self.form.as_ref().map(|form| form.types.clone());
        Self { type_name: type_name.to_string(), form: root.zip(types).map(|(root, types)| Form { root, types }) }
    }

    /// A value in a form for people; its bytes in hexadecimal where the shape is not known.
    ///
    /// # Errors
    /// If the bytes are not of this shape.
    pub fn show(&self, bytes: &[u8]) -> Result<Value> {
        let mut rest = bytes;
        let value = self.show_first(&mut rest)?;
        if rest.is_empty() { Ok(value) } else { Err(self.unlike(bytes)) }
    }

    /// The first of several values that follow each other, which is taken off `bytes`: all of them where the shape is not
    /// known.
    ///
    /// # Errors
    /// If the bytes do not begin with this shape.
    pub fn show_first(&self, bytes: &mut &[u8]) -> Result<Value> {
        let Some(form) = &self.form else {
            return Ok(Value::String(std::mem::take(bytes).iter().map(|byte| format!("{byte:02x}")).collect()));
        };
        let mut reader = Reader { rest: bytes, types: &form.types };
        let value = reader.value(&form.root, 0).ok_or_else(|| self.unlike(bytes))?;
        let read = bytes.len() - reader.rest.len();
        *bytes = &bytes[read..];
        Ok(value)
    }

    fn unlike(&self, bytes: &[u8]) -> Error {
        Error::data(format!("{} bytes are not a {}", bytes.len(), self.type_name))
    }
}

/// Reads postcard's encoding: <https://postcard.jamesmunns.com/wire-format>.
struct Reader<'a> {
    rest: &'a [u8],
    types: &'a Registry,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn varint(&mut self) -> Option<u128> {
        let mut value = 0;
        for shift in (0..19).map(|n| n * 7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<Value> {
        let zigzag = self.varint()?;
        let value = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        Some(i64::try_from(value).map_or_else(|_| json!(value.to_string()), |value| json!(value)))
    }

    fn unsigned(&mut self) -> Option<Value> {
        let value = self.varint()?;
        Some(u64::try_from(value).map_or_else(|_| json!(value.to_string()), |value| json!(value)))
    }

    fn length(&mut self) -> Option<usize> {
        self.varint()?.try_into().ok()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        String::from_utf8(self.take(length)?.to_vec()).ok()
    }

    fn float(value: f64) -> Value {
        serde_json::Number::from_f64(value).map_or_else(|| json!(value.to_string()), Value::Number)
    }

    fn all<'f>(&mut self, formats: impl IntoIterator<Item = &'f Format>, depth: usize) -> Option<Value> {
        formats.into_iter().map(|format| self.value(format, depth)).collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn fields(&mut self, fields: &[Named<Format>], depth: usize) -> Option<Value> {
        let field = |field: &Named<Format>| Some((field.name.clone(), self.value(&field.value, depth)?));
        fields.iter().map(field).collect::<Option<Map<_, _>>>().map(Value::Object)
    }

    fn value(&mut self, format: &Format, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let depth = depth + 1;
        Some(match format {
            Format::Variable(_) => return None,
            Format::Unit => Value::Null,
            Format::Bool => json!(self.byte()? != 0),
            Format::I8 => json!(self.byte()?.cast_signed()),
            Format::U8 => json!(self.byte()?),
            Format::I16 | Format::I32 | Format::I64 | Format::I128 => self.signed()?,
            Format::U16 | Format::U32 | Format::U64 | Format::U128 => self.unsigned()?,
            Format::F32 => Self::float(f32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            Format::F64 => Self::float(f64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            Format::Char | Format::Str => json!(self.text()?),
            Format::Bytes => {
                let length = self.length()?;
                json!(self.take(length)?.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
            }
            Format::Option(inner) => match self.byte()? {
                0 => Value::Null,
                _ => self.value(inner, depth)?,
            },
            Format::Seq(inner) => {
                let length = self.length()?;
                // Each takes a byte at least, but for units.
                if length > self.rest.len() && **inner != Format::Unit {
                    return None;
                }
                self.all(std::iter::repeat_n(inner.as_ref(), length), depth)?
            }
            Format::Map { key, value } => {
                let length = self.length()?;
                let entry = |_| self.all([key.as_ref(), value.as_ref()], depth);
                Value::Array((0..length).map(entry).collect::<Option<_>>()?)
            }
            Format::Tuple(formats) => self.all(formats, depth)?,
            Format::TupleArray { content, size } => self.all(std::iter::repeat_n(content.as_ref(), *size), depth)?,
            Format::TypeName(name) => {
                let types = self.types;
                self.container(types.get(name)?, depth)?
            }
        })
    }

    fn container(&mut self, format: &ContainerFormat, depth: usize) -> Option<Value> {
        match format {
            ContainerFormat::UnitStruct => Some(Value::Null),
            ContainerFormat::NewTypeStruct(inner) => self.value(inner, depth),
            ContainerFormat::TupleStruct(formats) => self.all(formats, depth),
            ContainerFormat::Struct(fields) => self.fields(fields, depth),
            ContainerFormat::Enum(variants) => {
                let number = u32::try_from(self.varint()?).ok()?;
                let Named { name, value } = variants.get(&number)?;
                let content = match value {
                    VariantFormat::Variable(_) => return None,
                    VariantFormat::Unit => return Some(json!(name)),
                    VariantFormat::NewType(inner) => self.value(inner, depth)?,
                    VariantFormat::Tuple(formats) => self.all(formats, depth)?,
                    VariantFormat::Struct(fields) => self.fields(fields, depth)?,
                };
                Some(json!({ name: content }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Serialize, Deserialize)]
    enum Kind {
        Plain,
        With(u8, String),
        Named { at: i64 },
    }

    #[derive(Serialize, Deserialize)]
    struct Row {
        names: Vec<String>,
        map: BTreeMap<String, Option<f64>>,
        big: u64,
    }

    #[test]
    fn values_are_shown_as_they_were_encoded() {
        let map = BTreeMap::from([("x".to_string(), Some(0.5)), ("y".to_string(), None)]);
        let row = (Row { names: vec![String::new(), "é".into()], map, big: u64::MAX }, true, [1u16, 2]);
        let bytes = postcard::to_stdvec(&row).unwrap();
        let shape = Shape::of::<(Row, bool, [u16; 2])>();
        let expected = json!([
            { "names": ["", "é"], "map": [["x", 0.5], ["y", null]], "big": u64::MAX },
            true,
            [1, 2]
        ]);
        assert_eq!(shape.show(&bytes).unwrap(), expected);
        for cut in 0..bytes.len() {
            assert!(shape.show(&bytes[..cut]).is_err(), "{cut}");
        }
        let text = serde_json::to_string(&shape).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&text).unwrap(), shape);
    }

    #[test]
    fn parts_of_values_are_shown() {
        let shape = Shape::of::<Kind>();
        let content = shape.of_variant("With", "what With holds");
        assert_eq!((content.type_name.as_str(), content.form), ("what With holds", None));
        #[derive(Serialize, Deserialize)]
        enum One {
            None,
            Some(Vec<u8>),
        }
        let content = Shape::of::<One>().of_variant("Some", "bytes");
        let mut bytes: &[u8] = &postcard::to_stdvec(&(vec![1u8, 2], One::None, One::Some(vec![3]))).unwrap();
        assert_eq!(content.show_first(&mut bytes).unwrap(), json!([1, 2]));
        assert_eq!(Shape::of::<One>().show_first(&mut bytes).unwrap(), json!("None"));
        assert_eq!(Shape::of::<One>().show_first(&mut bytes).unwrap(), json!({ "Some": [3] }));
        assert!(bytes.is_empty() && content.show_first(&mut bytes).is_err());
    }

    #[test]
    fn an_enum_is_shown_by_its_variants_wherever_it_is() {
        let cases = [
            (Kind::Plain, json!("Plain")),
            (Kind::With(7, "é".into()), json!({ "With": [7, "é"] })),
            (Kind::Named { at: -300 }, json!({ "Named": { "at": -300 } })),
        ];
        for (kind, expected) in cases {
            let encoded = postcard::to_stdvec(&kind).unwrap();
            assert_eq!(Shape::of::<Kind>().show(&encoded).unwrap(), expected);
            assert_eq!(Shape::of::<(Kind,)>().show(&encoded).unwrap(), json!([expected]));
            let inner =
                postcard::to_stdvec(&(vec![Some((Side::Left, &kind))], Deep::Both(Side::Right(3), &kind))).unwrap();
            let shown = json!([[["Left", expected]], { "Both": [{ "Right": 3 }, expected] }]);
            assert_eq!(Shape::of::<(Vec<Option<(Side, Kind)>>, Deep<Kind>)>().show(&inner).unwrap(), shown);
        }
    }

    #[derive(Serialize, Deserialize)]
    enum Side {
        Left,
        Right(u8),
    }

    #[derive(Serialize, Deserialize)]
    enum Deep<K> {
        Nothing,
        Both(Side, K),
    }

    /// Its first variant leads to itself.
    #[derive(Serialize, Deserialize)]
    enum Expr {
        Not(Box<Expr>),
        All(Vec<Expr>),
        If { is: Box<Expr>, then: Option<Box<Expr>> },
        Is(Side),
    }

    /// Nothing ends it.
    #[derive(Serialize, Deserialize)]
    enum Endless {
        More(Box<Endless>),
    }

    #[derive(Serialize, Deserialize)]
    struct Tree {
        here: Side,
        below: Vec<Tree>,
        above: Option<Box<Tree>>,
    }

    #[test]
    fn types_within_themselves_are_shown() {
        let is = |side| Box::new(Expr::Is(side));
        let all = Expr::All(vec![Expr::Not(is(Side::Right(1))), Expr::If { is: is(Side::Left), then: None }]);
        let all = postcard::to_stdvec(&(7u8, all)).unwrap();
        let shown = json!([7, { "All": [{ "Not": { "Is": { "Right": 1 } } }, { "If": { "is": { "Is": "Left" }, "then": null } }] }]);
        assert_eq!(Shape::of::<(u8, Expr)>().show(&all).unwrap(), shown);
        assert_eq!(Shape::of::<Expr>().show(&all[1..]).unwrap(), shown[1]);
        let leaf = |here| Tree { here, below: vec![], above: None };
        let tree =
            Tree { here: Side::Left, below: vec![leaf(Side::Right(2))], above: Some(Box::new(leaf(Side::Left))) };
        let shown = json!({
            "here": "Left",
            "below": [{ "here": { "Right": 2 }, "below": [], "above": null }],
            "above": { "here": "Left", "below": [], "above": null },
        });
        assert_eq!(Shape::of::<Tree>().show(&postcard::to_stdvec(&tree).unwrap()).unwrap(), shown);
    }

    #[test]
    fn a_type_that_can_t_be_explored_has_a_name_only() {
        mod other {
            #[derive(serde::Serialize, serde::Deserialize)]
            pub enum Side {
                Up,
                Down,
            }
        }
        #[derive(Serialize, Deserialize)]
        struct Two {
            a: Side,
            b: other::Side,
        }
        #[derive(Serialize)]
        struct Checked(u64);
        impl<'de> Deserialize<'de> for Checked {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                let number = u64::deserialize(deserializer)?;
                assert!(number > 1000, "too small");
                Ok(Self(number))
            }
        }
        let shapes =
            [Shape::of::<Endless>(), Shape::of::<Two>(), Shape::of::<Checked>(), Shape::of::<(Side, Checked)>()];
        for shape in shapes {
            assert_eq!(shape.form, None, "{}", shape.type_name);
            assert_eq!(shape.show(&[1, 255]).unwrap(), json!("01ff"));
        }
    }

    #[test]
    fn shapes_fit_by_form_not_by_name() {
        mod other {
            #[derive(serde::Serialize, serde::Deserialize)]
            pub struct Row {
                pub names: Vec<String>,
            }
        }
        assert!(Shape::of::<(u64, String)>().fits(&Shape::of::<(u64, String)>()));
        assert!(!Shape::of::<(u64, String)>().fits(&Shape::of::<(i64, String)>()));
        assert!(!Shape::of::<Row>().fits(&Shape::of::<other::Row>()));
        {
            // Another variant behind the others; one less, or in another order.
            mod more {
                #[derive(serde::Serialize, serde::Deserialize)]
                pub enum Side {
                    Left,
                    Right(u8),
                    Above(String),
                }
            }
            mod turned {
                #[derive(serde::Serialize, serde::Deserialize)]
                pub enum Side {
                    Right(u8),
                    Left,
                }
            }
            let (few, more) = (Shape::of::<Vec<Side>>(), Shape::of::<Vec<more::Side>>());
            assert!(few.fits(&more) && !more.fits(&few) && !few.fits(&Shape::of::<Vec<turned::Side>>()));
            assert!(Shape::of::<Side>().fits(&Shape::of::<more::Side>()));
        }
        assert!(Shape::of::<Vec<u8>>().fits(&Shape::of::<std::collections::VecDeque<u8>>()));
    }
}
