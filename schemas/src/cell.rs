//! From rows to Arrow columns and back.
//!
//! [`Stored`] says for each type of a definition which Arrow builder collects it and which array it
//! is read as. The rest of this module is what the generated `Builder` and `Columns` of every table
//! share.

use std::borrow::Cow;
use std::cell::{self, RefCell};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::Ipv6Addr;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BooleanArray, BooleanBuilder, DictionaryArray, Int16Array,
    Int32Array, Int64Array, ListArray, ListBuilder, PrimitiveBuilder, StringArray, StringBuilder,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use rustc_hash::FxHashMap;
use zerocopy::FromBytes as _;

use crate::wire::{
    Cell, Chars, Components, Flag, Ip, Loc, Maybe, Monotonic, StackHash, Str, Strs, Words,
};
use crate::{Table, Type};

/// Where a row came from: what its cells need beside their own value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source<'a> {
    /// The whole record, for the columns behind a [`Loc`].
    pub record: &'a [u8],
    /// What to add to the monotonic clock for Unix time, in nanoseconds.
    pub epoch: i64,
    /// The numbers of the stacks; `None` where a row has numbers already.
    pub stacks: Option<&'a StackNumbers>,
}

/// The numbers of a recording's stacks, from 1 in the order in which they were first met.
///
/// BPF programs know a stack by a hash. Hashes are random in all 64 bits: such a column costs more
/// time and space than the rest of its row. Numbers take as many bits as there are stacks.
///
/// Where only the newest of a recording is kept, it consists of *chunks*, each of which has the stacks that
/// its events refer to. So a stack of an earlier chunk that is met again is told
/// ([`take_again`](StackNumbers::take_again)), and what is not met any more is forgotten
/// ([`begin_chunk`](StackNumbers::begin_chunk)).
#[derive(Debug)]
pub struct StackNumbers {
    by_hash: RefCell<FxHashMap<i64, Numbered>>,
    /// Numbers that were given.
    given: cell::Cell<i64>,
    chunk: u32,
    /// Stacks of earlier chunks that were met in this one.
    again: RefCell<Vec<i64>>,
    /// Hash and number of stacks that were asked for lately, each where the hash's last bits say: few
    /// stacks are hot. Number 0 is an empty place.
    hot: Box<[cell::Cell<(i64, i64)>]>,
}

/// A stack that has a number.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    number: i64,
    /// The chunk in which it was last met.
    chunk: u32,
}

/// What is left out when a chunk begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Hashes of stacks that were not met in the chunk before. They keep their numbers for one more chunk,
    /// since what is on its way may refer to them; BPF programs are to send them again.
    pub unmet: Vec<i64>,
    /// Numbers that stand for nothing any more.
    pub numbers: Vec<i64>,
}

impl StackNumbers {
    const HOT: usize = 4096;

    /// The number of the stack with this hash, a new one if it was not met before.
    #[inline]
    pub fn number(&self, hash: StackHash) -> i64 {
        let place = &self.hot[hash.0 as usize % Self::HOT];
        match place.get() {
            (hot, number) if hot == hash.0 && number != 0 => number,
            _ => {
                let mut by_hash = self.by_hash.borrow_mut();
                let known = by_hash.entry(hash.0).or_insert_with(|| {
                    self.given.set(self.given.get() + 1);
                    Numbered { number: self.given.get(), chunk: self.chunk }
                });
                if known.chunk != self.chunk {
                    known.chunk = self.chunk;
                    self.again.borrow_mut().push(known.number);
                }
                place.set((hash.0, known.number));
                known.number
            }
        }
    }

    /// The numbers of stacks of earlier chunks that were met since this was last called.
    #[must_use]
    pub fn take_again(&self) -> Vec<i64> {
        self.again.take()
    }

    /// Begins a chunk. What was not met in the last two is forgotten.
    pub fn begin_chunk(&mut self) -> Forgotten {
        let ended = self.chunk;
        self.chunk += 1;
        self.hot.iter().for_each(|place| place.set((0, 0)));
        let mut forgotten = Forgotten::default();
        self.by_hash.get_mut().retain(|hash, known| {
            let stays = known.chunk + 1 >= ended;
            if !stays {
                forgotten.numbers.push(known.number);
            } else if known.chunk < ended {
                forgotten.unmet.push(*hash);
            }
            stays
        });
        forgotten
    }
}

impl Default for StackNumbers {
    fn default() -> Self {
        let hot = vec![cell::Cell::new((0, 0)); Self::HOT].into();
        StackNumbers {
            by_hash: RefCell::default(),
            given: cell::Cell::default(),
            chunk: 0,
            again: RefCell::default(),
            hot,
        }
    }
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
    /// Adds the source's record. Tells how many [`rows`](RecordBuilder::rows) there are then.
    ///
    /// # Errors
    /// Refuses a record that is shorter than the table's row.
    fn append_record(&mut self, source: &Source<'_>) -> Result<usize, TooShort>;
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
    #[inline]
    fn append_record(&mut self, source: &Source<'_>) -> Result<usize, TooShort> {
        let (row, _) = B::Row::ref_from_prefix(source.record)
            .map_err(|_| TooShort { length: source.record.len() })?;
        self.append(row, source);
        Ok(RowBuilder::rows(self))
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

/// The batch of a table's columns as builders give them: text may be coded by a dictionary.
///
/// # Panics
/// If the columns are not those of the table.
#[must_use]
pub fn batch<T: Table>(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields = T::COLUMNS
        .iter()
        .zip(&columns)
        .map(|(column, array)| Field::new(column.name, array.data_type().clone(), column.nullable));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns)
        .expect("the builders are made from the same definition as the table")
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

/// Collects numbers of which some are unknown, as [`Maybe`] has them: the smallest stands for unknown.
#[derive(Debug, Default)]
pub struct Known<T>(Vec<T>);

/// Text that a record holds in `N` bytes, as [`Repeated`] collects it.
pub trait Spell<const N: usize>: Send {
    /// The same for all bytes that spell the same text.
    fn normal(bytes: &[u8; N]) -> [u8; N];
    /// The text; `None` is unknown.
    fn spell(bytes: &[u8; N]) -> Option<Cow<'_, str>>;
}

/// Spells names, such as those of threads: what comes before the NUL.
#[derive(Debug)]
pub struct Name;

impl<const N: usize> Spell<N> for Name {
    #[inline]
    fn normal(bytes: &[u8; N]) -> [u8; N] {
        up_to_nul(bytes)
    }

    fn spell(bytes: &[u8; N]) -> Option<Cow<'_, str>> {
        match until_nul(bytes) {
            [] => None,
            bytes => Some(text(bytes)),
        }
    }
}

/// Spells IP addresses.
#[derive(Debug)]
pub struct Address;

impl Spell<16> for Address {
    #[inline]
    fn normal(bytes: &[u8; 16]) -> [u8; 16] {
        *bytes
    }

    fn spell(bytes: &[u8; 16]) -> Option<Cow<'_, str>> {
        let address = Ipv6Addr::from(*bytes);
        (*bytes != Ip::UNKNOWN.0).then(|| address.to_canonical().to_string().into())
    }
}

/// Collects texts that repeat, such as the names of threads. Rows come in runs of the same text, and
/// there are few texts: each is spelled and stored once for all rows of a batch.
#[derive(Debug)]
pub struct Repeated<const N: usize, S> {
    /// Of each row, the number of its text; negative if it has none.
    keys: Vec<i32>,
    numbers: HashMap<[u8; N], i32>,
    texts: StringBuilder,
    /// The bytes of the row before.
    last: [u8; N],
    /// The number of its text; `None` at the beginning.
    last_key: Option<i32>,
    spell: PhantomData<S>,
}

impl<const N: usize, S: Spell<N>> Repeated<N, S> {
    const NONE: i32 = i32::MIN;

    #[inline]
    fn append(&mut self, bytes: &[u8; N]) {
        let key = match self.last_key {
            Some(key) if *bytes == self.last => key,
            Some(key) if S::normal(bytes) == S::normal(&self.last) => key,
            Some(_) | None => self.number(S::normal(bytes)),
        };
        (self.last, self.last_key) = (*bytes, Some(key));
        self.keys.push(key);
    }

    fn number(&mut self, bytes: [u8; N]) -> i32 {
        let next = ArrayBuilder::len(&self.texts) as i32;
        *self.numbers.entry(bytes).or_insert_with(|| match S::spell(&bytes) {
            None => Self::NONE,
            Some(text) => {
                self.texts.append_value(text);
                next
            }
        })
    }
}

impl<const N: usize, S> Default for Repeated<N, S> {
    fn default() -> Self {
        Repeated {
            keys: Vec::new(),
            numbers: HashMap::new(),
            texts: StringBuilder::new(),
            last: [0; N],
            last_key: None,
            spell: PhantomData,
        }
    }
}

impl<const N: usize, S: Spell<N>> Finish for Repeated<N, S> {
    type Array = DictionaryArray<Int32Type>;
    fn finish(&mut self) -> DictionaryArray<Int32Type> {
        self.numbers.clear();
        self.last_key = None;
        let keys = Known(taken(&mut self.keys)).finish();
        DictionaryArray::new(keys, Arc::new(self.texts.finish()))
    }
}

/// What was collected. As many will come again.
fn taken<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    std::mem::replace(values, Vec::with_capacity(capacity))
}

macro_rules! numbers {
    ($($ty:ty => $array:ty;)*) => {$(
        impl Finish for Vec<$ty> {
            type Array = $array;
            fn finish(&mut self) -> $array {
                taken(self).into()
            }
        }

        impl Finish for Known<$ty> {
            type Array = $array;
            fn finish(&mut self) -> $array {
                let values = taken(&mut self.0);
                let known = |row: usize| values[row] != <$ty>::MIN;
                let nulls = values
                    .contains(&<$ty>::MIN)
                    .then(|| NullBuffer::new(BooleanBuffer::collect_bool(values.len(), known)));
                <$array>::new(values.into(), nulls)
            }
        }
    )*};
}

numbers! {
    i16 => Int16Array;
    i32 => Int32Array;
    i64 => Int64Array;
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
    i16 => Vec<i16>, |v, _s, c| c.push(*v);
    i32 => Vec<i32>, |v, _s, c| c.push(*v);
    i64 => Vec<i64>, |v, _s, c| c.push(*v);
    Option<i16> => PrimitiveBuilder<Int16Type>, |v, _s, c| c.append_option(*v);
    Option<i32> => PrimitiveBuilder<Int32Type>, |v, _s, c| c.append_option(*v);
    Option<i64> => PrimitiveBuilder<Int64Type>, |v, _s, c| c.append_option(*v);
    Maybe<i16> => Known<i16>, |v, _s, c| c.0.push(v.0);
    Maybe<i32> => Known<i32>, |v, _s, c| c.0.push(v.0);
    Maybe<i64> => Known<i64>, |v, _s, c| c.0.push(v.0);
    StackHash => Known<i64>, |v, s, c| c.0.push(match s.stacks {
        Some(stacks) if v.0 != i64::MIN => stacks.number(*v),
        Some(_) | None => v.0,
    });
    Monotonic => Vec<i64>, |v, s, c| c.push(v.0 + s.epoch);
    Flag => BooleanBuilder, |v, _s, c| c.append_value(v.0 != 0);
    bool => BooleanBuilder, |v, _s, c| c.append_value(*v);
    Option<bool> => BooleanBuilder, |v, _s, c| c.append_option(*v);
    String => StringBuilder, |v, _s, c| c.append_value(v);
    Option<String> => StringBuilder, |v, _s, c| c.append_option(v.as_ref());
    Option<Vec<String>> => ListBuilder<StringBuilder>, |v, _s, c| match v {
        Some(texts) => c.append_value(texts.iter().map(Some)),
        None => c.append_null(),
    };
    Vec<i64> => ListBuilder<PrimitiveBuilder<Int64Type>>,
        |v, _s, c| c.append_value(v.iter().copied().map(Some));
    Loc<Str> => StringBuilder,
        |v, s, c| c.append_option(v.bytes(s.record).map(|bytes| text(whole(bytes))));
    Loc<Strs> => ListBuilder<StringBuilder>, |v, s, c| match v.bytes(s.record) {
        Some(bytes) => c.append_value(nul_terminated(bytes).map(|part| Some(text(part)))),
        None => c.append_null(),
    };
    Loc<Components> => StringBuilder,
        |v, s, c| c.append_option(v.bytes(s.record).map(path_of_components));
    Loc<Words> => ListBuilder<PrimitiveBuilder<Int64Type>>, |v, s, c| match v.bytes(s.record) {
        Some(_) => c.append_value(v.words(s.record).map(Some)),
        None => c.append_null(),
    };
}

impl<const N: usize> Stored for Chars<N> {
    type Builder = Repeated<N, Name>;
    type Array = StringArray;
    #[inline]
    fn append(&self, _source: &Source<'_>, column: &mut Self::Builder) {
        column.append(&self.0);
    }
}

impl Stored for Ip {
    type Builder = Repeated<16, Address>;
    type Array = StringArray;
    #[inline]
    fn append(&self, _source: &Source<'_>, column: &mut Self::Builder) {
        column.append(&self.0);
    }
}

impl Loc<Words> {
    /// The words in `record`; empty if they are unknown.
    pub fn words(self, record: &[u8]) -> impl Iterator<Item = i64> {
        let (words, _) = self.bytes(record).unwrap_or_default().as_chunks::<8>();
        words.iter().map(|word| i64::from_ne_bytes(*word))
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What comes before the NUL. A text without one was cut, and ends with the last whole character.
fn whole(bytes: &[u8]) -> &[u8] {
    let text = until_nul(bytes);
    if text.len() < bytes.len() {
        return text;
    }
    // A character has at most four bytes.
    let tail = text.len().saturating_sub(3)..text.len();
    let begins = tail.rev().find(|at| text[*at] & 0xc0 != 0x80).unwrap_or(text.len());
    match std::str::from_utf8(&text[begins..]) {
        Err(error) if error.error_len().is_none() => &text[..begins],
        Ok(_) | Err(_) => text,
    }
}

#[inline]
fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// The text with zeros behind it: the kernel leaves there what was there before.
#[inline]
fn up_to_nul<const N: usize>(text: &[u8; N]) -> [u8; N] {
    let mut text = *text;
    let mut keep = 0xff;
    for byte in &mut text {
        // Without a branch: it would be mispredicted whenever the length changes.
        keep &= 0u8.wrapping_sub(u8::from(*byte != 0));
        *byte &= keep;
    }
    text
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
    fn stacks_that_are_not_met_are_forgotten_after_two_chunks() {
        let mut numbers = StackNumbers::default();
        let [a, b] = [StackHash(77), StackHash(-5)];
        assert_eq!((numbers.number(a), numbers.number(b), numbers.number(a)), (1, 2, 1));
        assert!(numbers.take_again().is_empty());
        assert_eq!(numbers.begin_chunk(), Forgotten::default());
        // Only `a` is met in the second chunk, and is to be stored again.
        assert_eq!((numbers.number(a), numbers.number(a)), (1, 1));
        assert_eq!(numbers.take_again(), vec![1_i64]);
        assert_eq!(numbers.begin_chunk(), Forgotten { unmet: vec![b.0], numbers: vec![] });
        // What is on its way still means the same.
        assert_eq!(numbers.number(b), 2);
        assert_eq!(numbers.take_again(), vec![2_i64]);
        assert_eq!(numbers.begin_chunk(), Forgotten { unmet: vec![a.0], numbers: vec![] });
        assert_eq!(numbers.begin_chunk(), Forgotten { unmet: vec![b.0], numbers: vec![1] });
        // Numbers are not given twice.
        assert_eq!(numbers.number(a), 3);
    }

    #[test]
    fn a_path_is_built_from_its_components_upwards() {
        assert_eq!(path_of_components(b"bin\0usr\0"), "/usr/bin");
        assert_eq!(path_of_components(b""), "/");
    }

    #[test]
    fn a_text_that_was_cut_ends_with_a_whole_character() {
        let smile = "a\u{1f642}".as_bytes();
        for (cut, kept) in [(5, 5), (4, 1), (3, 1), (2, 1), (1, 1)] {
            assert_eq!(whole(&smile[..cut]), &smile[..kept]);
        }
        assert_eq!(whole(b"\xe2\x82\xac\xe2\x82"), "\u{20ac}".as_bytes());
        // It was not cut, but broken before.
        assert_eq!(whole(b"a\xe2\x82\0"), b"a\xe2\x82");
        assert_eq!(whole(b"ab\xff"), b"ab\xff");
        assert_eq!(whole(b"\x80\x80\x80\x80"), b"\x80\x80\x80\x80");
        assert_eq!(whole(b""), b"");
    }

    #[test]
    fn names_are_what_comes_before_the_nul() {
        let mut names = Repeated::<4, Name>::default();
        for name in [b"ab\0\0", b"ab\0x", b"abcd", b"\0abc", b"ab\0y", b"\xffab\0"] {
            names.append(name);
        }
        let array = names.finish();
        let texts = array.downcast_dict::<StringArray>().unwrap();
        let texts: Vec<Option<&str>> = texts.into_iter().collect();
        let expected = [Some("ab"), Some("ab"), Some("abcd"), None, Some("ab"), Some("\u{fffd}ab")];
        assert_eq!(texts, expected);
        assert_eq!(names.finish().len(), 0);
    }

    #[test]
    fn the_smallest_number_is_unknown() {
        let mut known = Known(vec![1, i32::MIN, -3]);
        assert_eq!(known.finish(), Int32Array::from(vec![Some(1), None, Some(-3)]));
        assert_eq!(vec![i64::MIN].finish(), Int64Array::from(vec![i64::MIN]));
    }

    #[test]
    fn empty_arguments_are_kept() {
        let parts: Vec<&[u8]> = nul_terminated(b"sh\0\0-c\0").collect();
        assert_eq!(parts, [&b"sh"[..], b"", b"-c"]);
    }
}
