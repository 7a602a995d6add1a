//! The form of a type with enums inside: it is read from nothing, over and over, until each variant of each enum has been read.
//!
//! An enum is read as the first of its variants that is not explored yet. A variant is explored when all enums in it are. Where a type
//! lies within itself, what is optional there is left out, and an enum is read as a variant that does not lead to itself.

use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde_reflection::{ContainerFormat, Format, FormatHolder, Named, Registry, VariantFormat};

/// How often a type is read at most: a bound for types with thousands of variants within each other.
const MAX_READS: usize = 10_000;

/// How often a type is met within itself before another variant is tried.
const MAX_WITHIN: usize = 8;

/// What was found of a type.
pub struct Explored {
    /// An enum lies within another type, or within itself.
    pub has_inner_enums: bool,
    /// What it is, and the types with names in it; `None` of one that refuses the values it is tried with, and of one in which two types have the
    /// same name.
    pub form: Option<(Format, Registry)>,
}

/// Explores a type.
pub fn explore<T: DeserializeOwned>() -> Explored {
    let mut explorer = Explorer::default();
    let root = explorer.read_all::<T>();
    let has_inner_enums = explorer.has_inner_enums;
    Explored { has_inner_enums, form: root.and_then(|root| explorer.form(root)) }
}

/// Why a reading has ended before its time.
enum End {
    /// An enum has only so many variants.
    Variants(&'static str, u32),
    /// The variant of an enum that stands for it within itself leads to itself.
    Within(&'static str),
}

#[derive(Default)]
struct Enum {
    name: &'static str,
    names: &'static [&'static str],
    /// Of each variant what it holds, and whether it is explored.
    variants: BTreeMap<u32, (VariantFormat, bool)>,
    count: Option<u32>,
    /// The variant that stands for it within itself.
    base: u32,
}

impl Enum {
    fn is_complete(&self) -> bool {
        let explored = self.variants.values().filter(|(_, explored)| *explored).count();
        self.count.is_some_and(|count| explored == count as usize)
    }

    fn next(&self) -> u32 {
        let is_new = |n: &u32| !self.variants.get(n).is_some_and(|(_, explored)| *explored);
        let next = (0..=self.variants.len() as u32).find(is_new).unwrap_or_default();
        if self.count.is_some_and(|count| next >= count) { self.base } else { next }
    }
}

#[derive(Default)]
struct Explorer {
    types: Registry,
    /// The types by the names that serde has for them.
    owners: BTreeMap<&'static str, &'static str>,
    enums: BTreeMap<&'static str, Enum>,
    /// The types that are being read.
    stack: Vec<&'static str>,
    /// How many of them lie within themselves.
    within: usize,
    /// How many enums were met that are not complete.
    open: usize,
    ended: Option<End>,
    has_inner_enums: bool,
}

impl Explorer {
    /// Reads a type until all of it has been read.
    fn read_all<T: DeserializeOwned>(&mut self) -> Option<Format> {
        for _ in 0..MAX_READS {
            self.open = 0;
            let mut format = Format::unknown();
            let read = T::deserialize(Reader { explorer: self, format: &mut format, is_root: true });
            match (read, self.ended.take()) {
                (Ok(_), _) if self.open == 0 => return Some(format),
                (Ok(_), _) => {}
                (Err(_), Some(end)) => self.has_ended(end)?,
                (Err(_), None) => return None,
            }
        }
        None
    }

    fn has_ended(&mut self, end: End) -> Option<()> {
        match end {
            End::Variants(owner, count) => {
                let found = self.enums.get_mut(owner)?;
                // Names that are more than variants are other names of some.
                (count as usize == found.names.len() && count > 0).then(|| found.count = Some(count))
            }
            End::Within(owner) => {
                let found = self.enums.get_mut(owner)?;
                found.base += 1;
                ((found.base as usize) < found.names.len()).then_some(())
            }
        }
    }

    fn form(mut self, mut root: Format) -> Option<(Format, Registry)> {
        for found in self.enums.into_values() {
            let named = |(n, (value, _)): (u32, (VariantFormat, bool))| {
                (n, Named { name: found.names.get(n as usize).map(|name| name.to_string()).unwrap_or_default(), value })
            };
            let variants = found.variants.into_iter().map(named).collect();
            self.types.insert(found.name.to_string(), ContainerFormat::Enum(variants));
        }
        // An error if any part was never read.
        root.normalize().ok()?;
        self.types.values_mut().try_for_each(|format| format.normalize()).ok()?;
        Some((root, self.types))
    }

    /// Reads a type that has a name by `body`, which gives its form.
    fn container<R>(
        &mut self,
        name: &'static str,
        owner: &'static str,
        body: impl FnOnce(&mut Self) -> Result<(R, Option<ContainerFormat>), Refused>,
    ) -> Result<R, Refused> {
        if *self.owners.entry(name).or_insert(owner) != owner {
            return Err(Refused);
        }
        let again = usize::from(self.stack.contains(&owner));
        self.within += again;
        self.stack.push(owner);
        let read = body(self);
        self.stack.pop();
        self.within -= again;
        let (value, form) = read?;
        if let (0, Some(form)) = (self.within, form) {
            self.types.insert(name.to_string(), form);
        }
        Ok(value)
    }
}

/// The error of a reading that can't go on.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type can't be explored")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Reads one value, and says what it is.
struct Reader<'a> {
    explorer: &'a mut Explorer,
    format: &'a mut Format,
    is_root: bool,
}

impl Reader<'_> {
    fn is(&mut self, format: Format) {
        *self.format = format;
    }
}

macro_rules! plain {
    ($($method:ident $format:ident $visit:ident $value:expr),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
            self.is(Format::$format);
            visitor.$visit($value)
        })*
    };
}

macro_rules! refused {
    ($($method:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
            Err(Refused)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Refused;

    plain! {
        deserialize_bool Bool visit_bool true,
        deserialize_i8 I8 visit_i8 1,
        deserialize_i16 I16 visit_i16 1,
        deserialize_i32 I32 visit_i32 1,
        deserialize_i64 I64 visit_i64 1,
        deserialize_i128 I128 visit_i128 1,
        deserialize_u8 U8 visit_u8 1,
        deserialize_u16 U16 visit_u16 1,
        deserialize_u32 U32 visit_u32 1,
        deserialize_u64 U64 visit_u64 1,
        deserialize_u128 U128 visit_u128 1,
        deserialize_f32 F32 visit_f32 1.0,
        deserialize_f64 F64 visit_f64 1.0,
        deserialize_char Char visit_char 'A',
        deserialize_str Str visit_borrowed_str "",
        deserialize_string Str visit_string String::new(),
        deserialize_bytes Bytes visit_borrowed_bytes b"",
        deserialize_byte_buf Bytes visit_byte_buf Vec::new(),
    }

    refused!(deserialize_any, deserialize_identifier, deserialize_ignored_any);

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        if self.explorer.within > 0 {
            return visitor.visit_none();
        }
        let mut format = Format::unknown();
        let read = visitor.visit_some(Reader { explorer: self.explorer, format: &mut format, is_root: false })?;
        self.is(Format::Option(Box::new(format)));
        Ok(read)
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        self.is(Format::Unit);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(mut self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        self.is(Format::TypeName(name.into()));
        let read = |_: &mut Explorer| Ok((visitor.visit_unit()?, Some(ContainerFormat::UnitStruct)));
        self.explorer.container(name, type_name::<V::Value>(), read)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.is(Format::TypeName(name.into()));
        self.explorer.container(name, type_name::<V::Value>(), |explorer| {
            let mut format = Format::unknown();
            let read = visitor.visit_newtype_struct(Reader { explorer, format: &mut format, is_root: false })?;
            Ok((read, Some(ContainerFormat::NewTypeStruct(Box::new(format)))))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        let mut formats = vec![Format::unknown(); usize::from(self.explorer.within == 0)];
        let read = visitor.visit_seq(Fields { explorer: self.explorer, formats: formats.iter_mut() })?;
        if let Some(format) = formats.pop() {
            self.is(Format::Seq(Box::new(format)));
        }
        Ok(read)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        let mut formats = vec![Format::unknown(); if self.explorer.within == 0 { 2 } else { 0 }];
        let read = visitor.visit_map(Fields { explorer: self.explorer, formats: formats.iter_mut() })?;
        if let (Some(value), Some(key)) = (formats.pop(), formats.pop()) {
            self.is(Format::Map { key: Box::new(key), value: Box::new(value) });
        }
        Ok(read)
    }

    fn deserialize_tuple<V: Visitor<'de>>(mut self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        let mut formats = vec![Format::unknown(); len];
        let read = visitor.visit_seq(Fields { explorer: self.explorer, formats: formats.iter_mut() })?;
        self.is(Format::Tuple(formats));
        Ok(read)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.is(Format::TypeName(name.into()));
        self.explorer.container(name, type_name::<V::Value>(), |explorer| {
            let mut formats = vec![Format::unknown(); len];
            let read = visitor.visit_seq(Fields { explorer, formats: formats.iter_mut() })?;
            Ok((read, Some(ContainerFormat::TupleStruct(formats))))
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.is(Format::TypeName(name.into()));
        self.explorer.container(name, type_name::<V::Value>(), |explorer| {
            let mut formats = vec![Format::unknown(); fields.len()];
            let read = visitor.visit_seq(Fields { explorer, formats: formats.iter_mut() })?;
            Ok((read, Some(ContainerFormat::Struct(named(fields, formats)))))
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.is(Format::TypeName(name.into()));
        let owner = type_name::<V::Value>();
        self.explorer.has_inner_enums |= !self.is_root;
        let depth = self.explorer.stack.iter().filter(|other| **other == owner).count();
        self.explorer.container(name, owner, |explorer| {
            let (open, within) = (explorer.open, explorer.within > 0);
            let found = explorer.enums.entry(owner).or_insert_with(|| Enum { name, names, ..Enum::default() });
            if depth > MAX_WITHIN {
                explorer.ended = Some(End::Within(owner));
                return Err(Refused);
            }
            let number = if within { found.base } else { found.next() };
            let mut format = VariantFormat::unknown();
            let read = visitor.visit_enum(Variant { explorer, owner, number, format: &mut format })?;
            if within {
                return Ok((read, None));
            }
            let explored = explorer.open == open;
            let found = explorer.enums.entry(owner).or_default();
            found.variants.insert(number, (format, explored));
            explorer.open += usize::from(!found.is_complete());
            Ok((read, None))
        })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

fn named(fields: &[&str], formats: Vec<Format>) -> Vec<Named<Format>> {
    fields.iter().zip(formats).map(|(name, value)| Named { name: name.to_string(), value }).collect()
}

/// As many values as there are places for what they are.
struct Fields<'a> {
    explorer: &'a mut Explorer,
    formats: std::slice::IterMut<'a, Format>,
}

impl<'de> de::SeqAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        let Some(format) = self.formats.next() else { return Ok(None) };
        seed.deserialize(Reader { explorer: self.explorer, format, is_root: false }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.formats.len())
    }
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refused> {
        de::SeqAccess::next_element_seed(self, seed)?.ok_or(Refused)
    }
}

/// A variant of an enum, by its number.
struct Variant<'a> {
    explorer: &'a mut Explorer,
    owner: &'static str,
    number: u32,
    format: &'a mut VariantFormat,
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Refused> {
        let number: U32Deserializer<Refused> = self.number.into_deserializer();
        match seed.deserialize(number) {
            Ok(variant) => Ok((variant, self)),
            Err(_) => {
                self.explorer.ended = Some(End::Variants(self.owner, self.number));
                Err(Refused)
            }
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        *self.format = VariantFormat::Unit;
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        let mut format = Format::unknown();
        let read = seed.deserialize(Reader { explorer: self.explorer, format: &mut format, is_root: false })?;
        *self.format = VariantFormat::NewType(Box::new(format));
        Ok(read)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        let mut formats = vec![Format::unknown(); len];
        let read = visitor.visit_seq(Fields { explorer: self.explorer, formats: formats.iter_mut() })?;
        *self.format = VariantFormat::Tuple(formats);
        Ok(read)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        let mut formats = vec![Format::unknown(); fields.len()];
        let read = visitor.visit_seq(Fields { explorer: self.explorer, formats: formats.iter_mut() })?;
        *self.format = VariantFormat::Struct(named(fields, formats));
        Ok(read)
    }
}
