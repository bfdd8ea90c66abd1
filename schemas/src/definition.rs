//! How a table is defined.
//!
//! `event!` defines a table whose rows are made by BPF programs: its struct has the layout of the C
//! struct that the programs fill. `table!` defines a table that user space fills. Both expect one
//! table per module and add to that module, beside the row:
//!
//! - `Builder`, which collects rows into Arrow columns, and
//! - `Columns`, the typed view of a batch that was read (both with the feature `store`).
//!
//! Each column says its type, which fixes how it is stored, and its [`Kind`], which says what the
//! number means and so how it is encoded and printed. There is no kind for text as such: a definition must
//! say what a text may tell of people ([`Content`]), and so by what choice of `--redact` it is replaced.

/// The type of a stored column. Signed integers only: unsigned ones wrap in Polars' sums, become
/// decimals in Spark and floats in pandas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// True or false.
    Bool,
    /// UTF-8 text; bytes that were not UTF-8 are replaced by U+FFFD.
    Text,
    /// A list of texts.
    Texts,
    /// A list of 64-bit signed integers.
    I64s,
}

/// What the values of a column mean: their unit, and with it their encoding and how they print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A moment, in nanoseconds since the Unix epoch. Rises along a table, so delta-encoded.
    Time,
    /// A length of time in nanoseconds.
    Duration,
    /// A size in bytes.
    Bytes,
    /// A number of things.
    Count,
    /// A number that names something (a pid, a CPU, a stack): it repeats, so dictionary-encoded.
    Id,
    /// A small closed set of numbers with names (a signal, an exit code, an errno).
    Code,
    /// A machine address: the bits of a `u64` in an `i64`. Printed in hex.
    Address,
    /// Yes or no.
    Flag,
    /// Text. What it may tell of people decides by what choice of `--redact` it is replaced.
    Text(Content),
}

/// What a text may tell of people. A definition names one of these for each column of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The name of a thread, a probe, a table or the like, or a word of a closed set. It always stays.
    Name,
    /// An argument of a program.
    Argv,
    /// The path of a file, or of a control group.
    Path,
    /// An IP address.
    Ip,
    /// A line that somebody typed.
    Line,
    /// The name of a function. Runtimes that compile while they run put paths into such names.
    Function,
    /// Whatever a probe of the user's found: it can hold any of these.
    Anything,
}

/// The kinds of text, as definitions name them.
#[allow(non_upper_case_globals)]
impl Kind {
    /// See [`Content::Name`].
    pub const Name: Kind = Kind::Text(Content::Name);
    /// See [`Content::Argv`].
    pub const Argv: Kind = Kind::Text(Content::Argv);
    /// See [`Content::Path`].
    pub const Path: Kind = Kind::Text(Content::Path);
    /// See [`Content::Ip`].
    pub const Ip: Kind = Kind::Text(Content::Ip);
    /// See [`Content::Line`].
    pub const Line: Kind = Kind::Text(Content::Line);
    /// See [`Content::Function`].
    pub const Function: Kind = Kind::Text(Content::Function);
    /// See [`Content::Anything`].
    pub const Anything: Kind = Kind::Text(Content::Anything);
}

/// A choice of `--redact`: texts of which kind are replaced by tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Arguments of programs.
    Argv,
    /// Paths.
    Paths,
    /// IP addresses.
    Addresses,
    /// Lines that people typed.
    Lines,
}

impl What {
    /// Every choice.
    pub const ALL: [What; 4] = [What::Argv, What::Paths, What::Addresses, What::Lines];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            What::Argv => "argv",
            What::Paths => "paths",
            What::Addresses => "addresses",
            What::Lines => "lines",
        }
    }

    /// The choice of this name, as a command line has it.
    ///
    /// # Errors
    /// Lists the choices there are.
    pub fn from_name(name: &str) -> Result<What, String> {
        What::ALL.into_iter().find(|what| what.name() == name).ok_or_else(|| {
            format!("what can be redacted is {}", What::ALL.map(What::name).join(", "))
        })
    }
}

impl Content {
    /// By which choices it is replaced.
    #[must_use]
    pub fn redacted_by(self) -> &'static [What] {
        match self {
            Content::Name => &[],
            Content::Argv => &[What::Argv],
            Content::Path | Content::Function => &[What::Paths],
            Content::Ip => &[What::Addresses],
            Content::Line => &[What::Lines],
            Content::Anything => &What::ALL,
        }
    }
}

impl Kind {
    /// The unit of the values as a report prints it, where there is one.
    #[must_use]
    pub fn unit(self) -> Option<&'static str> {
        match self {
            Kind::Time => Some("ns since the epoch"),
            Kind::Duration => Some("ns"),
            Kind::Bytes => Some("bytes"),
            Kind::Count | Kind::Id | Kind::Code | Kind::Address | Kind::Flag | Kind::Text(_) => {
                None
            }
        }
    }
}

/// One column of a table, as defined.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The column's name, in the recording, in reports and in C.
    pub name: &'static str,
    /// What it holds, from the definition's doc comment.
    pub doc: &'static str,
    /// What its values mean.
    pub kind: Kind,
    /// How it is stored.
    pub ty: Type,
    /// Whether a value can be unknown.
    pub nullable: bool,
}

/// A table of the recording.
pub trait Table: Sized {
    /// Which table this is.
    const ID: crate::TableId;
    /// The table's name: its folder in the recording.
    const NAME: &'static str;
    /// What a row stands for, from the definition's doc comment.
    const DOC: &'static str;
    /// The columns, in order.
    const COLUMNS: &'static [Column];
    /// The typed view of a batch of this table.
    #[cfg(feature = "store")]
    type Columns: crate::cell::View;
    /// Collects rows of this table into columns.
    #[cfg(feature = "store")]
    type Builder: crate::cell::RowBuilder<Row = Self>;
}

/// A table whose rows BPF programs make.
pub trait Event: Table + crate::wire::Record {}

macro_rules! implement_table {
    ($Row:ident = $name:literal [$($doc:literal)*] { $([$($cdoc:literal)*] $col:ident : $ty:ty as $kind:ident;)* }) => {
        impl $crate::Table for $Row {
            const ID: $crate::TableId = $crate::TableId::$Row;
            const NAME: &'static str = $name;
            const DOC: &'static str = concat!($($doc, "\n"),*);
            const COLUMNS: &'static [$crate::Column] = &[$($crate::Column {
                name: stringify!($col),
                doc: concat!($($cdoc, "\n"),*),
                kind: $crate::Kind::$kind,
                ty: <$ty as $crate::wire::Cell>::TYPE,
                nullable: <$ty as $crate::wire::Cell>::NULLABLE,
            }),*];
            #[cfg(feature = "store")]
            type Columns = Columns;
            #[cfg(feature = "store")]
            type Builder = Builder;
        }

        #[doc = concat!("Collects rows of `", $name, "` into Arrow columns.")]
        #[cfg(feature = "store")]
        #[derive(Default)]
        pub struct Builder {
            rows: usize,
            $($col: <$ty as $crate::cell::Stored>::Builder,)*
        }

        #[cfg(feature = "store")]
        impl $crate::cell::RowBuilder for Builder {
            type Row = $Row;

            fn append(&mut self, row: &$Row, source: &$crate::cell::Source<'_>) {
                self.rows += 1;
                $($crate::cell::Stored::append(&row.$col, source, &mut self.$col);)*
            }

            fn rows(&self) -> usize {
                self.rows
            }

            fn finish(&mut self) -> arrow::record_batch::RecordBatch {
                self.rows = 0;
                let columns: Vec<arrow::array::ArrayRef> =
                    vec![$(std::sync::Arc::new($crate::cell::Finish::finish(&mut self.$col))),*];
                $crate::cell::batch::<$Row>(columns)
            }
        }

        #[doc = concat!("A batch of `", $name, "`, column by column.")]
        #[cfg(feature = "store")]
        #[derive(Clone, Debug)]
        pub struct Columns {
            rows: usize,
            $($(#[doc = $cdoc])* pub $col: <$ty as $crate::cell::Stored>::Array,)*
        }

        #[cfg(feature = "store")]
        impl $crate::cell::View for Columns {
            fn view(batch: &arrow::record_batch::RecordBatch) -> Result<Self, String> {
                Ok(Columns {
                    rows: batch.num_rows(),
                    $($col: $crate::cell::column::<$ty>(batch, stringify!($col))?,)*
                })
            }

            fn rows(&self) -> usize {
                self.rows
            }
        }
    };
}

/// Defines a table that user space fills. See the [module](self).
macro_rules! table {
    ($(#[doc = $doc:literal])* pub struct $Row:ident = $name:literal {
        $($(#[doc = $cdoc:literal])* $col:ident: $ty:ty as $kind:ident,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $Row {
            $($(#[doc = $cdoc])* pub $col: $ty,)*
        }

        implement_table!($Row = $name [$($doc)*] { $([$($cdoc)*] $col: $ty as $kind;)* });
    };
}

/// Defines a table whose rows BPF programs make. See the [module](self).
macro_rules! event {
    ($(#[doc = $doc:literal])* pub struct $Row:ident = $name:literal {
        $($(#[doc = $cdoc:literal])* $col:ident: $ty:ty as $kind:ident,)*
    }) => {
        wire! {
            $(#[doc = $doc])*
            pub struct $Row = $name {
                /// Which table the record belongs to.
                header: $crate::wire::Header,
                $($(#[doc = $cdoc])* $col: $ty,)*
            }
        }

        impl $crate::definition::Event for $Row {}

        implement_table!($Row = $name [$($doc)*] { $([$($cdoc)*] $col: $ty as $kind;)* });
    };
}
