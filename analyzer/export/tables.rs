//! The rows of tables as CSV, JSON lines or Arrow.
//!
//! CSV and JSON lines are what [`cat`](crate::cat) writes, in the order of time. Arrow is the same columns with their types, as they
//! were recorded: in the order of time for each CPU, and nearly so over all.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arrow::array::{ArrayRef, ListArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::record_batch::RecordBatch;
use lookback_schemas::{Error, TableId, cell};

use lookback_schemas::lines::cells::Cells;

use crate::cat;
use crate::cli::Source;
use crate::render::{self, Output, OutputArgs};
use crate::scope::Scope;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As text.
    Text(render::Format),
    /// As Arrow.
    Arrow,
}

impl Format {
    /// How files of it end.
    fn extension(self) -> &'static str {
        match self {
            Format::Text(render::Format::Csv) => "csv",
            Format::Text(render::Format::Jsonl) => "jsonl",
            Format::Text(render::Format::Json) => "json",
            Format::Text(render::Format::Table) => "txt",
            Format::Arrow => "arrow",
        }
    }
}

/// Writes one table.
///
/// # Errors
/// If the table is damaged, or it cannot be written.
pub(super) fn one(
    (source, scope): (&Source, &Scope),
    table: TableId,
    format: Format,
) -> anyhow::Result<()> {
    source.heading(&[table]).warn();
    write((source, scope), table, format, &source.args)
}

/// Writes each table that has rows into a file of the directory, which must not exist or be empty. A table that
/// cannot be narrowed down, such as `frame`, is written whole.
///
/// # Errors
/// If there is something already, a table is damaged, or it cannot be written.
pub(super) fn all(
    (source, scope): (&Source, &Scope),
    format: Format,
    directory: &Path,
) -> anyhow::Result<()> {
    let name = || directory.display().to_string();
    fs::create_dir_all(directory).with_context(name)?;
    if fs::read_dir(directory).with_context(name)?.next().is_some() {
        bail!("{} is not empty: choose another directory with -o", name());
    }
    source.heading(&[]).warn();
    let whole = Scope::default();
    let mut unfiltered = Vec::new();
    for table in TableId::ALL {
        if !crate::memleak::is_recorded(&source.recording, *table)? {
            continue;
        }
        let scope = match scope.check(*table) {
            Ok(()) => scope,
            Err(_) => {
                unfiltered.push(table.name());
                &whole
            }
        };
        let output = directory.join(format!("{}.{}", table.name(), format.extension()));
        let args = OutputArgs { output: Some(output), ..OutputArgs::default() };
        write((source, scope), *table, format, &args)?;
    }
    if !unfiltered.is_empty() {
        eprintln!("analyze: note: these tables are whole: {}", unfiltered.join(", "));
    }
    Ok(())
}

fn write(
    (source, scope): (&Source, &Scope),
    table: TableId,
    format: Format,
    args: &OutputArgs,
) -> anyhow::Result<()> {
    match format {
        Format::Text(format) => {
            let args = OutputArgs { format, ..args.clone() };
            let mut output = Output::open(&args, source.window.span.start)?;
            let columns = table.columns().iter().collect();
            cat::rows((source, scope), table, columns, None, &mut output)?;
            output.finish()
        }
        Format::Arrow => {
            let mut output = Output::open(args, source.window.span.start)?;
            arrow((source, scope), table, args.output.is_some(), output.raw())?;
            output.finish()
        }
    }
}

/// Writes a table as Arrow: a file, or a stream where it is not one.
fn arrow(
    (source, scope): (&Source, &Scope),
    table: TableId,
    file: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let schema = schema(source, table);
    match file {
        true => {
            let mut writer = FileWriter::try_new(out, &schema)?;
            batches((source, scope), table, &schema, |batch| Ok(writer.write(batch)?))?;
            writer.finish()?;
        }
        false => {
            let mut writer = StreamWriter::try_new(out, &schema)?;
            batches((source, scope), table, &schema, |batch| Ok(writer.write(batch)?))?;
            writer.finish()?;
        }
    }
    Ok(())
}

/// The table's schema, with what it covers and what is missing.
fn schema(source: &Source, table: TableId) -> SchemaRef {
    let heading = source.heading(&[table]);
    let schema = cell::schema_of(table.columns());
    let fields = std::iter::zip(schema.fields(), table.columns()).map(|(field, column)| {
        let doc = column.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        field.as_ref().clone().with_metadata([("doc".to_owned(), doc)])
    });
    let about = [
        ("lookback.table", table.name().to_owned()),
        ("lookback.covers", heading.covers.clone()),
        ("lookback.missing", heading.warnings.join("\n")),
    ];
    let about = about.map(|(name, text)| (name.to_owned(), text));
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), about))
}

/// Calls `visit` with the rows, in the table's types whatever the recorder of the recording wrote.
fn batches(
    (source, scope): (&Source, &Scope),
    table: TableId,
    schema: &SchemaRef,
    mut visit: impl FnMut(&RecordBatch) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let scan = source.recording.scan_table(table, source.window.range.clone());
    scan.for_each(|path, batch| {
        let batch = scope.filter(table, path, batch)?;
        let columns = std::iter::zip(table.columns(), schema.fields());
        let columns: Result<Vec<ArrayRef>, String> =
            columns.map(|(column, field)| Ok(array(Cells::of(&batch, column)?, field))).collect();
        let columns = columns.map_err(Error::damaged(path))?;
        let batch =
            RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::damaged(path))?;
        visit(&batch)
    })
}

/// The cells as a column of the field's type.
fn array(cells: Cells, field: &Field) -> ArrayRef {
    // What lists call their items differs between writers.
    let list = |list: ListArray| -> ArrayRef {
        let (_, offsets, values, nulls) = list.into_parts();
        let DataType::List(item) = field.data_type() else { unreachable!("a list's type is one") };
        Arc::new(ListArray::new(Arc::clone(item), offsets, values, nulls))
    };
    match cells {
        Cells::I16(cells) => Arc::new(cells),
        Cells::I32(cells) => Arc::new(cells),
        Cells::I64(cells) => Arc::new(cells),
        Cells::Bool(cells) => Arc::new(cells),
        Cells::Text(cells) => Arc::new(cells),
        Cells::Texts(cells) | Cells::I64s(cells) => list(cells),
    }
}
