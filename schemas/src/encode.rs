//! From batches of rows to row groups in a Parquet file.
//!
//! The choices of encoding were measured (docs/performance.md): delta coding makes numbers smaller and
//! faster to write and to scan than plain values or a dictionary; a dictionary does that for text; and
//! zstd's first level pays for itself except on times and ids.

use std::fs::File;

use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::{Column, Kind, Type, cell};

/// Writes a Parquet file of one table.
#[derive(Debug)]
pub(crate) struct Encoder {
    writer: ArrowWriter<File>,
}

impl Encoder {
    /// Begins the file.
    pub(crate) fn new(file: File, columns: &[Column]) -> Result<Encoder> {
        let options = ArrowWriterOptions::new()
            .with_properties(properties(columns)?)
            .with_skip_arrow_metadata(true);
        let schema = cell::schema_of(columns);
        Ok(Encoder { writer: ArrowWriter::try_new_with_options(file, schema, options)? })
    }

    /// Encodes rows into the open row group.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch)
    }

    /// Rows of the open row group.
    pub(crate) fn rows(&self) -> usize {
        self.writer.in_progress_rows()
    }

    /// Bytes that the open row group takes in memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.writer.memory_size()
    }

    /// Writes the open row group, if any, so that it survives the end of this process.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.writer.flush()?;
        Ok(self.writer.sync()?)
    }

    /// The row groups that were written.
    pub(crate) fn row_groups(&self) -> &[RowGroupMetaData] {
        self.writer.flushed_row_groups()
    }

    /// Bytes that were written.
    pub(crate) fn bytes_written(&self) -> usize {
        self.writer.bytes_written()
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        self.writer.inner()
    }

    /// Writes the open row group, if any, and the footer.
    pub(crate) fn finish(&mut self) -> Result<ParquetMetaData> {
        self.writer.finish()
    }
}

/// Of zstd.
const LEVEL: i32 = 1;

/// How the library encodes.
fn properties(columns: &[Column]) -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for column in columns {
        let name = ColumnPath::from(match column.ty {
            Type::Texts | Type::I64s => {
                vec![column.name.to_owned(), "list".to_owned(), "item".to_owned()]
            }
            Type::I16 | Type::I32 | Type::I64 | Type::Bool | Type::Text => {
                vec![column.name.to_owned()]
            }
        });
        // Pids and the like come in runs, since rows of a CPU are together, and a run of equal values
        // takes no bits.
        let delta = match column.ty {
            Type::I16 | Type::I32 | Type::I64 | Type::I64s => true,
            Type::Bool | Type::Text | Type::Texts => false,
        };
        if delta {
            properties = properties
                .set_column_dictionary_enabled(name.clone(), false)
                .set_column_encoding(name.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        // Times are random in their last bits, and ids are packed as tight as they go: compressing them
        // takes a fifth of the encoder's time for a tenth of the bytes.
        if delta && matches!(column.kind, Kind::Time | Kind::Id) {
            properties = properties.set_column_compression(name.clone(), Compression::UNCOMPRESSED);
        }
        let number = matches!(column.ty, Type::I16 | Type::I32 | Type::I64);
        if number {
            properties = properties.set_column_statistics_enabled(name, EnabledStatistics::Chunk);
        }
    }
    Ok(properties.build())
}
