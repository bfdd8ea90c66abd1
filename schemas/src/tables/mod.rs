//! The tables, one file each, and the list of them.

use crate::definition::{Kind, What};

macro_rules! tables {
    (
        events: $($(#[doc = $edoc:literal])* $event_module:ident :: $Event:ident,)*
        ; filled_by_user_space: $($(#[doc = $tdoc:literal])* $module:ident :: $Table:ident,)*
    ) => {
        $(pub mod $event_module; pub use $event_module::$Event;)*
        $(pub mod $module; pub use $module::$Table;)*

        /// A table of the recording. As a number it names the table in the ring buffer; numbers
        /// never reach the disk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TableId {
            $(#[doc = concat!("[`", stringify!($Event), "`]")] $Event,)*
            $(#[doc = concat!("[`", stringify!($Table), "`]")] $Table,)*
        }

        impl TableId {
            /// Every table.
            pub const ALL: &'static [TableId] = &[$(TableId::$Event,)* $(TableId::$Table,)*];

            /// The table's name: its folder in the recording.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(TableId::$Event => <$Event as crate::Table>::NAME,)*
                    $(TableId::$Table => <$Table as crate::Table>::NAME,)*
                }
            }

            /// What a row stands for.
            #[must_use]
            pub fn doc(self) -> &'static str {
                match self {
                    $(TableId::$Event => <$Event as crate::Table>::DOC,)*
                    $(TableId::$Table => <$Table as crate::Table>::DOC,)*
                }
            }

            /// The table's columns, in order.
            #[must_use]
            pub fn columns(self) -> &'static [crate::Column] {
                match self {
                    $(TableId::$Event => <$Event as crate::Table>::COLUMNS,)*
                    $(TableId::$Table => <$Table as crate::Table>::COLUMNS,)*
                }
            }

            /// Decodes a batch, only to see that it is what the definition says.
            ///
            /// # Errors
            /// Says which column is missing or has the wrong type.
            #[cfg(feature = "store")]
            pub fn validate(self, batch: &arrow::record_batch::RecordBatch) -> Result<(), String> {
                use crate::cell::View;
                match self {
                    $(TableId::$Event => <$Event as crate::Table>::Columns::view(batch).map(drop),)*
                    $(TableId::$Table => <$Table as crate::Table>::Columns::view(batch).map(drop),)*
                }
            }

            /// The C struct of the table's records, where BPF programs make them.
            #[must_use]
            pub fn c_struct(self) -> Option<String> {
                match self {
                    $(TableId::$Event => Some(<$Event as crate::wire::Record>::c_struct()),)*
                    $(TableId::$Table)|* => None,
                }
            }

            /// A builder that takes the table's records as they come from the ring buffer, where
            /// BPF programs make them.
            #[cfg(feature = "store")]
            #[must_use]
            pub fn record_builder(self) -> Option<Box<dyn crate::cell::RecordBuilder>> {
                match self {
                    $(TableId::$Event => Some(Box::new($event_module::Builder::default())),)*
                    $(TableId::$Table)|* => None,
                }
            }
        }
    };
}

tables! {
    events:
        exec::Exec,
        fork::Fork,
        exit::Exit,
        cgroup::Cgroup,
        signal::Signal,
        kill::Kill,
        sample::Sample,
        syscall::Syscall,
        open::Open,
        unlink::Unlink,
        runq::Runq,
        offcpu::Offcpu,
        hardirq::Hardirq,
        softirq::Softirq,
        tcpconnect::Tcpconnect,
        tcpstate::Tcpstate,
        tcprtt::Tcprtt,
        lsmconnect::Lsmconnect,
        kalloc::Kalloc,
        alloc::Alloc,
        vm::Vm,
        gc::Gc,
        readline::Readline,
        probe::Probe,
        span::Span,
    ; filled_by_user_space:
        process::Process,
        stack::Stack,
        frame::Frame,
        symbol::Symbol,
        clock::Clock,
        loss::Loss,
}

impl TableId {
    /// The table of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<TableId> {
        TableId::ALL.iter().copied().find(|id| id.name() == name)
    }

    /// The table's column of this name.
    #[must_use]
    pub fn column(self, name: &str) -> Option<&'static crate::Column> {
        self.columns().iter().find(|column| column.name == name)
    }
}

/// The reference of all tables, in Markdown. `docs/tables.md` is this text.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Tables\n\n\
         Generated from `schemas/` by `make docs`. Each table is a folder of Parquet segments in the\n\
         recording. Times are nanoseconds since the Unix epoch; an unknown value is null. The fourth column\n\
         says by which choices of `--redact` a text is replaced by a token.\n",
    );
    for id in TableId::ALL {
        page += &format!("\n## {}\n\n{}\n\n", id.name(), id.doc().trim().replace("\n ", "\n"));
        page += "| column | type | unit | redacted by | |\n|---|---|---|---|---|\n";
        for column in id.columns() {
            page += &format!(
                "| `{}` | {}{} | {} | {} | {} |\n",
                column.name,
                match column.ty {
                    crate::Type::I16 => "i16",
                    crate::Type::I32 => "i32",
                    crate::Type::I64 => "i64",
                    crate::Type::Bool => "bool",
                    crate::Type::Text => "text",
                    crate::Type::Texts => "list of text",
                    crate::Type::I64s => "list of i64",
                },
                if column.nullable { ", nullable" } else { "" },
                column.kind.unit().unwrap_or(""),
                redacted_by(column.kind),
                column.doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|"),
            );
        }
    }
    page
}

/// By which choices of `--redact` a column is replaced.
fn redacted_by(kind: Kind) -> String {
    match kind {
        Kind::Text(content) if content.redacted_by().len() == What::ALL.len() => "any".to_owned(),
        Kind::Text(content) => {
            content.redacted_by().iter().map(|what| what.name()).collect::<Vec<_>>().join(", ")
        }
        Kind::Time
        | Kind::Duration
        | Kind::Bytes
        | Kind::Count
        | Kind::Id
        | Kind::Code
        | Kind::Address
        | Kind::Flag => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Type;

    #[test]
    fn each_column_of_text_says_what_it_may_tell_of_people_and_no_other_column_does() {
        let mut by_content = [0; 2];
        for table in TableId::ALL {
            for column in table.columns() {
                let text = match column.ty {
                    Type::Text | Type::Texts => true,
                    Type::I16 | Type::I32 | Type::I64 | Type::Bool | Type::I64s => false,
                };
                let said = match column.kind {
                    Kind::Text(content) => Some(content),
                    Kind::Time
                    | Kind::Duration
                    | Kind::Bytes
                    | Kind::Count
                    | Kind::Id
                    | Kind::Code
                    | Kind::Address
                    | Kind::Flag => None,
                };
                let name = format!("{}.{}", table.name(), column.name);
                assert_eq!(text, said.is_some(), "{name} is {:?} as {:?}", column.ty, column.kind);
                if let Some(content) = said {
                    by_content[usize::from(content == crate::definition::Content::Name)] += 1;
                }
            }
        }
        assert!(by_content.iter().all(|columns| *columns > 20), "{by_content:?}");
    }

    #[test]
    fn what_always_stays_are_names() {
        // Whoever adds a column of names adds it here too, having thought about whom it names.
        let stay: Vec<String> = TableId::ALL
            .iter()
            .flat_map(|table| table.columns().iter().map(|column| (table.name(), column)))
            .filter(|(_, column)| column.kind == Kind::Name)
            .filter(|(_, column)| !column.name.ends_with("comm"))
            .map(|(table, column)| format!("{table}.{}", column.name))
            .collect();
        let known = [
            "hardirq.name",
            "kalloc.cache",
            "gc.manager",
            "gc.pool",
            "probe.name",
            "span.name",
            "stack.walked",
            "frame.build_id",
            "symbol.module",
            "loss.table",
            "loss.reason",
        ];
        assert_eq!(stay, known);
    }
}
