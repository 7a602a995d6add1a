//! RDDs to files: `part-NNNNN` for each partition, `_SUCCESS` when all are there.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::ipc::writer::FileWriter;
use flate2::write::{GzEncoder, ZlibEncoder};
use tidemill_engine::chunk::{BATCH_ROWS, Data, encode_rows, rows_schema};
use tidemill_engine::error::{Error, Result};

use super::Rdd;
use super::create::local_path;
use crate::op::narrow::map_partitions;

/// How text files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip, `.gz`.
    Gzip,
    /// bzip2, `.bz2`.
    Bzip2,
    /// Zstandard, `.zst`.
    Zstd,
    /// zlib, `.deflate`: Hadoop's default.
    Deflate,
}

impl Codec {
    fn suffix(self) -> &'static str {
        match self {
            Codec::None => "",
            Codec::Gzip => ".gz",
            Codec::Bzip2 => ".bz2",
            Codec::Zstd => ".zst",
            Codec::Deflate => ".deflate",
        }
    }
}

impl<T: Data> Rdd<T> {
    /// Writes each row as a line into a new directory.
    ///
    /// # Errors
    /// If the directory is there already.
    #[track_caller]
    pub fn save_as_text_file(&self, path: impl AsRef<Path>) -> Result<()>
    where
        T: Display,
    {
        self.save_as_text_file_with(path, Codec::None)
    }

    /// [`Rdd::save_as_text_file`], compressed.
    #[track_caller]
    pub fn save_as_text_file_with(&self, path: impl AsRef<Path>, codec: Codec) -> Result<()>
    where
        T: Display,
    {
        self.save(path.as_ref(), codec.suffix(), move |file, rows| write_lines(file, codec, rows))
    }

    /// Writes the rows in their encoded form, as Arrow IPC files, into a new directory; for
    /// [`object_file`](crate::context::SparkContext::object_file).
    #[track_caller]
    pub fn save_as_object_file(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save(path.as_ref(), "", |file, rows| {
            let mut writer =
                FileWriter::try_new(BufWriter::new(file), &rows_schema()).map_err(std::io::Error::other)?;
            for rows in rows.as_slice().chunks(BATCH_ROWS) {
                let batch = encode_rows(rows).map_err(std::io::Error::other)?;
                writer.write(&batch).map_err(std::io::Error::other)?;
            }
            writer.finish().and_then(|()| writer.flush()).map_err(std::io::Error::other)
        })
    }

    #[track_caller]
    fn save(
        &self,
        path: &Path,
        suffix: &'static str,
        write: impl Fn(&mut File, std::vec::IntoIter<T>) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        let path = local(path)?;
        if path.exists() {
            return Err(Error::usage(format!("Output directory {} already exists", path.display())));
        }
        let staging = path.join("_temporary");
        let failed = |error: std::io::Error| {
            Error::retry(format!("can't write to {}; is there space and permission?", path.display()))
                .with_source(error)
        };
        fs::create_dir_all(&staging).map_err(failed)?;
        let (folder, target) = (staging.clone(), path.to_path_buf());
        let parts = map_partitions(self.context(), "save", move |partition, rows| {
            let name = format!("part-{partition:05}{suffix}");
            Some(write_part(&folder, &target, &name, rows, &write).map_err(|error| error.to_string()))
        });
        // Parts are written aside and moved when complete, so that a reader never sees half of one.
        let results = self.then(&parts).collect();
        let done = results.and_then(|results| {
            results
                .into_iter()
                .collect::<Result<Vec<()>, String>>()
                .map_err(|error| failed(std::io::Error::other(error)))
        });
        match done {
            Ok(_) => {
                fs::remove_dir_all(&staging).map_err(failed)?;
                File::create(path.join("_SUCCESS")).map(drop).map_err(failed)
            }
            Err(error) => {
                let _ = fs::remove_dir_all(path);
                Err(error)
            }
        }
    }
}

pub(crate) fn local(path: &Path) -> Result<&Path> {
    Ok(match path.to_str() {
        Some(name) => Path::new(local_path(name)?),
        None => path,
    })
}

fn write_part<T>(
    staging: &Path,
    target: &Path,
    name: &str,
    rows: std::vec::IntoIter<T>,
    write: &impl Fn(&mut File, std::vec::IntoIter<T>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let aside: PathBuf = staging.join(name);
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&aside)?;
    write(&mut file, rows)?;
    file.sync_all()?;
    fs::rename(&aside, target.join(name))
}

fn write_lines<T: Display>(file: &mut File, codec: Codec, rows: std::vec::IntoIter<T>) -> std::io::Result<()> {
    fn lines<T: Display>(mut out: impl Write, rows: std::vec::IntoIter<T>) -> std::io::Result<()> {
        for row in rows {
            writeln!(out, "{row}")?;
        }
        out.flush()
    }
    let mut out = BufWriter::new(file);
    match codec {
        Codec::None => lines(&mut out, rows)?,
        Codec::Gzip => {
            let mut encoder = GzEncoder::new(&mut out, flate2::Compression::default());
            lines(&mut encoder, rows)?;
            encoder.finish()?;
        }
        Codec::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::default());
            lines(&mut encoder, rows)?;
            encoder.finish()?;
        }
        Codec::Deflate => {
            let mut encoder = ZlibEncoder::new(&mut out, flate2::Compression::default());
            lines(&mut encoder, rows)?;
            encoder.finish()?;
        }
        Codec::Zstd => {
            let mut encoder = zstd::Encoder::new(&mut out, 0)?;
            lines(&mut encoder, rows)?;
            encoder.finish()?;
        }
    }
    out.flush()
}

impl crate::context::SparkContext {
    /// The rows of an RDD that [`Rdd::save_as_object_file`] wrote, a partition for each part.
    #[track_caller]
    pub fn object_file<T: Data>(&self, path: impl AsRef<Path>) -> Result<Rdd<T>> {
        let path = local(path.as_ref())?;
        let damaged =
            |error: String| Error::data(format!("{} is not readable as object files: {error}", path.display()));
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let mut parts: Vec<PathBuf> = entries
            .map_err(|error| damaged(error.to_string()))?
            .into_iter()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("part-"))
            .map(|entry| entry.path())
            .collect();
        parts.sort();
        let partitions = parts.len();
        let names: Vec<String> = parts.iter().map(|part| part.display().to_string()).collect();
        let rows = self.parallelize_in(names, partitions.max(1)).map(|name| read_part::<T>(&name));
        Ok(rows
            .flat_map(|part| match part {
                Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
            .then(&crate::op::narrow::fallible(self, "object_file")))
    }
}

fn read_part<T: Data>(name: &str) -> Result<Vec<T>, String> {
    let file = File::open(name).map_err(|error| format!("{name}: {error}"))?;
    let reader = arrow::ipc::reader::FileReader::try_new(file, None).map_err(|error| format!("{name}: {error}"))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| format!("{name}: {error}"))?;
        rows.extend(tidemill_engine::chunk::decode_rows::<T>(&batch).map_err(|error| format!("{name}: {error}"))?);
    }
    Ok(rows)
}
