//! The cells of any table, whatever the types of its columns.

use arrow::array::{
    Array as _, AsArray as _, BooleanArray, Int16Array, Int32Array, Int64Array, ListArray,
    StringArray,
};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;

use super::codes;
use super::value::Value;
use crate::wire::{Loc, Words};
use crate::{Column, Kind, TableId, Type, cell, known};

/// The value, with its name if it is a code that has one.
#[must_use]
pub fn named(table: TableId, column: &Column, value: Value) -> Value {
    let name = codes::names_of(table, column.name);
    match (name, &value) {
        (Some(name), Value::Int(code)) => match i32::try_from(*code) {
            Ok(small) => Value::Named(*code, name(small)),
            Err(_) => value,
        },
        (Some(_) | None, _) => value,
    }
}

/// The cells of one column in a batch.
#[derive(Clone, Debug)]
pub enum Cells {
    /// Of type `i16`.
    I16(Int16Array),
    /// Of type `i32`.
    I32(Int32Array),
    /// Of type `i64`.
    I64(Int64Array),
    /// Yes or no.
    Bool(BooleanArray),
    /// Text.
    Text(StringArray),
    /// Lists of texts.
    Texts(ListArray),
    /// Lists of numbers.
    I64s(ListArray),
}

impl Cells {
    /// The column of the batch.
    ///
    /// # Errors
    /// If the batch lacks it or has another type there.
    pub fn of(batch: &RecordBatch, column: &Column) -> Result<Cells, String> {
        let name = column.name;
        Ok(match (column.ty, column.nullable) {
            (Type::I16, false) => Cells::I16(cell::column::<i16>(batch, name)?),
            (Type::I16, true) => Cells::I16(cell::column::<Option<i16>>(batch, name)?),
            (Type::I32, false) => Cells::I32(cell::column::<i32>(batch, name)?),
            (Type::I32, true) => Cells::I32(cell::column::<Option<i32>>(batch, name)?),
            (Type::I64, false) => Cells::I64(cell::column::<i64>(batch, name)?),
            (Type::I64, true) => Cells::I64(cell::column::<Option<i64>>(batch, name)?),
            (Type::Bool, _) => Cells::Bool(cell::column::<Option<bool>>(batch, name)?),
            (Type::Text, false) => Cells::Text(cell::column::<String>(batch, name)?),
            (Type::Text, true) => Cells::Text(cell::column::<Option<String>>(batch, name)?),
            (Type::Texts, _) => Cells::Texts(cell::column::<Option<Vec<String>>>(batch, name)?),
            (Type::I64s, false) => Cells::I64s(cell::column::<Vec<i64>>(batch, name)?),
            (Type::I64s, true) => Cells::I64s(cell::column::<Loc<Words>>(batch, name)?),
        })
    }

    /// The number in the row; `None` if it is unknown, or the column does not hold numbers.
    #[must_use]
    pub fn number(&self, row: usize) -> Option<i64> {
        match self {
            Cells::I16(cells) => known!(cells, row).map(i64::from),
            Cells::I32(cells) => known!(cells, row).map(i64::from),
            Cells::I64(cells) => known!(cells, row),
            Cells::Bool(_) | Cells::Text(_) | Cells::Texts(_) | Cells::I64s(_) => None,
        }
    }

    /// The value in the row, of a column of this kind.
    #[must_use]
    pub fn value(&self, kind: Kind, row: usize) -> Value {
        match self {
            Cells::I16(_) | Cells::I32(_) | Cells::I64(_) => {
                let Some(number) = self.number(row) else { return Value::Null };
                match kind {
                    Kind::Time => Value::Time(number),
                    Kind::Duration => Value::Duration(number),
                    Kind::Bytes => Value::Bytes(number),
                    Kind::Address => Value::Hex(number),
                    Kind::Count | Kind::Id | Kind::Code | Kind::Flag | Kind::Text(_) => {
                        Value::Int(number)
                    }
                }
            }
            Cells::Bool(cells) => known!(cells, row).map_or(Value::Null, Value::Flag),
            Cells::Text(cells) => Value::text(known!(cells, row)),
            Cells::Texts(cells) => texts(cells, row).map_or(Value::Null, Value::Texts),
            Cells::I64s(cells) => numbers(cells, row).map_or(Value::Null, Value::Ints),
        }
    }
}

/// The numbers of a list column's cell; `None` if they are unknown.
#[must_use]
pub fn numbers(column: &ListArray, row: usize) -> Option<Vec<i64>> {
    let numbers = column.is_valid(row).then(|| column.value(row))?;
    Some(numbers.as_primitive_opt::<Int64Type>()?.values().to_vec())
}

/// The texts of a list column's cell.
#[must_use]
pub fn texts(column: &ListArray, row: usize) -> Option<Vec<String>> {
    if column.is_null(row) {
        return None;
    }
    let texts = column.value(row);
    let texts = texts.as_string_opt::<i32>()?;
    Some(texts.iter().map(|text| text.unwrap_or_default().to_owned()).collect())
}
