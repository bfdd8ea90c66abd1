//! From rows to Arrow columns and back.
//!
//! [`Stored`] says for each type of a definition which Arrow builder collects it and which array it
//! is read as. The rest of this module is what the generated `Builder` and `Columns` of every table
//! share.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBuilder, Int16Array, Int32Array, Int64Array, ListArray,
    ListBuilder, PrimitiveBuilder, StringArray, StringBuilder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use zerocopy::FromBytes as _;

use crate::wire::{
    Cell, Chars, Components, Flag, Loc, Maybe, Monotonic, Str, Strs, Words,
};
use crate::{Table, Type};

/// Where a row came from: what its cells need beside their own value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The whole record, for the columns behind a [`Loc`].
    pub record: &'a [u8],
    /// What to add to the monotonic clock for Unix time, in nanoseconds.
    pub epoch: i64,
}

/// An Arrow builder, finished the same way whatever its type.
pub trait Finish: Default + Send {
    /// The array of what was collected; the builder is empty afterwards.
    type Array: Array + Clone + 'static;
    /// Takes what was collected.
    fn finish(&mut self) -> Self::Array;
}

/// How a cell is stored in an Arrow column.
pub trait Stored: Cell {
    /// What collects it.
    type Builder: Finish;
    /// What it is read as.
    type Array: Array + Clone + 'static;
    /// Adds the cell to its column.
    fn append(&self, source: &Source<'_>, column: &mut Self::Builder);
}

/// Collects rows of one table.
pub trait RowBuilder: Default + Send {
    /// The rows.
    type Row;
    /// Adds a row.
    fn append(&mut self, row: &Self::Row, source: &Source<'_>);
    /// How many rows were added since the last [`finish`](RowBuilder::finish).
    fn rows(&self) -> usize;
    /// Takes the rows as a batch with the table's schema.
    fn finish(&mut self) -> RecordBatch;
}

/// Collects records of one table as they come from the ring buffer.
pub trait RecordBuilder: Send {
    /// Adds a record.
    ///
    /// # Errors
    /// Refuses a record that is shorter than the table's row.
    fn append_record(&mut self, record: &[u8], epoch: i64) -> Result<(), TooShort>;
    /// How many rows were added since the last [`finish_batch`](RecordBuilder::finish_batch).
    fn rows(&self) -> usize;
    /// Takes the rows as a batch with the table's schema.
    fn finish_batch(&mut self) -> RecordBatch;
}

/// A record that is shorter than the row it should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record of {length} bytes is too short for its table")]
pub struct TooShort {
    /// Its length in bytes.
    pub length: usize,
}

impl<B> RecordBuilder for B
where
    B: RowBuilder,
    B::Row: crate::wire::Record,
{
    fn append_record(&mut self, record: &[u8], epoch: i64) -> Result<(), TooShort> {
        let (row, _) =
            B::Row::ref_from_prefix(record).map_err(|_| TooShort { length: record.len() })?;
        self.append(row, &Source { record, epoch });
        Ok(())
    }

    fn rows(&self) -> usize {
        RowBuilder::rows(self)
    }

    fn finish_batch(&mut self) -> RecordBatch {
        self.finish()
    }
}

/// A typed view of a batch.
pub trait View: Sized {
    /// Looks at a batch.
    ///
    /// # Errors
    /// Says which column is missing or has the wrong type.
    fn view(batch: &RecordBatch) -> Result<Self, String>;
    /// How many rows there are.
    fn rows(&self) -> usize;
}

/// The Arrow type of a column type.
#[must_use]
pub fn data_type(ty: Type) -> DataType {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    match ty {
        Type::I16 => DataType::Int16,
        Type::I32 => DataType::Int32,
        Type::I64 => DataType::Int64,
        Type::Bool => DataType::Boolean,
        Type::Text => DataType::Utf8,
        Type::Texts => list(DataType::Utf8),
        Type::I64s => list(DataType::Int64),
    }
}

/// The Arrow schema of a table's columns. Each field carries its doc comment as metadata `doc`.
#[must_use]
pub fn schema_of(columns: &[crate::Column]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|column| {
            let doc = column.doc.trim().to_owned();
            Field::new(column.name, data_type(column.ty), column.nullable)
                .with_metadata(HashMap::from([("doc".to_owned(), doc)]))
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The Arrow schema of a table.
#[must_use]
pub fn schema<T: Table>() -> SchemaRef {
    schema_of(T::COLUMNS)
}

/// The column `name` of a batch, as the array that `C` is stored in. A nullable column that the
/// batch does not have reads as null: it was added to the format after the recording was made.
///
/// # Errors
/// Says what is wrong with the column.
pub fn column<C: Stored>(batch: &RecordBatch, name: &str) -> Result<C::Array, String> {
    let array: ArrayRef = match batch.column_by_name(name) {
        Some(array) => Arc::clone(array),
        None if C::NULLABLE => new_null_array(&data_type(C::TYPE), batch.num_rows()),
        None => return Err(format!("column `{name}` is missing")),
    };
    if !C::NULLABLE && array.null_count() > 0 {
        return Err(format!("column `{name}` has nulls, which it must not"));
    }
    if array.data_type() != &data_type(C::TYPE) && !list_of_same(array.data_type(), C::TYPE) {
        return Err(format!(
            "column `{name}` is {}, not {}",
            array.data_type(),
            data_type(C::TYPE)
        ));
    }
    array
        .as_any()
        .downcast_ref::<C::Array>()
        .cloned()
        .ok_or_else(|| format!("column `{name}` is {}", array.data_type()))
}

/// Lists agree when their items do: other writers name the item, and say whether it can be null,
/// differently.
fn list_of_same(found: &DataType, wanted: Type) -> bool {
    match (found, data_type(wanted)) {
        (DataType::List(found), DataType::List(wanted)) => found.data_type() == wanted.data_type(),
        (_, _) => false,
    }
}

macro_rules! finish {
    ($($builder:ty => $array:ty;)*) => {$(
        impl Finish for $builder {
            type Array = $array;
            fn finish(&mut self) -> $array {
                <$builder>::finish(self)
            }
        }
    )*};
}

finish! {
    PrimitiveBuilder<Int16Type> => Int16Array;
    PrimitiveBuilder<Int32Type> => Int32Array;
    PrimitiveBuilder<Int64Type> => Int64Array;
    BooleanBuilder => BooleanArray;
    StringBuilder => StringArray;
    ListBuilder<StringBuilder> => ListArray;
    ListBuilder<PrimitiveBuilder<Int64Type>> => ListArray;
}

macro_rules! stored {
    ($($ty:ty => $builder:ty, |$value:ident, $source:ident, $column:ident| $append:expr;)*) => {$(
        impl Stored for $ty {
            type Builder = $builder;
            type Array = <$builder as Finish>::Array;
            #[inline]
            fn append(&self, $source: &Source<'_>, $column: &mut $builder) {
                let $value = self;
                $append;
            }
        }
    )*};
}

stored! {
    i16 => PrimitiveBuilder<Int16Type>, |v, _s, c| c.append_value(*v);
    i32 => PrimitiveBuilder<Int32Type>, |v, _s, c| c.append_value(*v);
    i64 => PrimitiveBuilder<Int64Type>, |v, _s, c| c.append_value(*v);
    Option<i16> => PrimitiveBuilder<Int16Type>, |v, _s, c| c.append_option(*v);
    Option<i32> => PrimitiveBuilder<Int32Type>, |v, _s, c| c.append_option(*v);
    Option<i64> => PrimitiveBuilder<Int64Type>, |v, _s, c| c.append_option(*v);
    Maybe<i16> => PrimitiveBuilder<Int16Type>, |v, _s, c| c.append_option(v.get());
    Maybe<i32> => PrimitiveBuilder<Int32Type>, |v, _s, c| c.append_option(v.get());
    Maybe<i64> => PrimitiveBuilder<Int64Type>, |v, _s, c| c.append_option(v.get());
    Monotonic => PrimitiveBuilder<Int64Type>, |v, s, c| c.append_value(v.0 + s.epoch);
    Flag => BooleanBuilder, |v, _s, c| c.append_value(v.0 != 0);
    bool => BooleanBuilder, |v, _s, c| c.append_value(*v);
    String => StringBuilder, |v, _s, c| c.append_value(v);
    Option<String> => StringBuilder, |v, _s, c| c.append_option(v.as_ref());
    Option<Vec<String>> => ListBuilder<StringBuilder>, |v, _s, c| match v {
        Some(texts) => c.append_value(texts.iter().map(Some)),
        None => c.append_null(),
    };
    Vec<i64> => ListBuilder<PrimitiveBuilder<Int64Type>>,
        |v, _s, c| c.append_value(v.iter().copied().map(Some));
    Loc<Str> => StringBuilder,
        |v, s, c| c.append_option(v.bytes(s.record).map(|bytes| text(until_nul(bytes))));
    Loc<Strs> => ListBuilder<StringBuilder>, |v, s, c| match v.bytes(s.record) {
        Some(bytes) => c.append_value(nul_terminated(bytes).map(|part| Some(text(part)))),
        None => c.append_null(),
    };
    Loc<Components> => StringBuilder,
        |v, s, c| c.append_option(v.bytes(s.record).map(path_of_components));
}

impl<const N: usize> Stored for Chars<N> {
    type Builder = StringBuilder;
    type Array = StringArray;
    #[inline]
    fn append(&self, _source: &Source<'_>, column: &mut StringBuilder) {
        match until_nul(&self.0) {
            [] => column.append_null(),
            bytes => column.append_value(text(bytes)),
        }
    }
}

impl Loc<Words> {
    /// The words in `record`; empty if they are unknown.
    pub fn words(self, record: &[u8]) -> impl Iterator<Item = i64> {
        let (words, _) = self.bytes(record).unwrap_or_default().as_chunks::<8>();
        words.iter().map(|word| i64::from_ne_bytes(*word))
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[inline]
fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// The texts of `bytes`, each up to its NUL; the last may lack it where it was cut.
fn nul_terminated(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|byte| *byte == 0)
}

/// `/a/b` from `b`, `a`.
fn path_of_components(bytes: &[u8]) -> String {
    let mut path = String::new();
    let parts: Vec<&[u8]> = nul_terminated(bytes).filter(|part| !part.is_empty()).collect();
    for part in parts.iter().rev() {
        path.push('/');
        path += &text(part);
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_built_from_its_components_upwards() {
        assert_eq!(path_of_components(b"bin\0usr\0"), "/usr/bin");
        assert_eq!(path_of_components(b""), "/");
    }

    #[test]
    fn empty_arguments_are_kept() {
        let parts: Vec<&[u8]> = nul_terminated(b"sh\0\0-c\0").collect();
        assert_eq!(parts, [&b"sh"[..], b"", b"-c"]);
    }
}
