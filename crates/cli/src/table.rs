//! Tables and lines on the standard output.

use std::io::Write;

use tidemill::prelude::*;

/// Longer cells are cut: `--format json` has them whole.
const CELL: usize = 100;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Layout {
    /// A table for people.
    #[default]
    Table,
    /// A JSON object for each row.
    Json,
}

/// Lines with columns below each other; the first one is the head.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let head = head.iter().map(|name| name.to_uppercase()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows.into_iter().map(shortened)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn shortened(row: Vec<String>) -> Vec<String> {
    let shorten = |cell: String| match cell.char_indices().nth(CELL) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell,
    };
    row.into_iter().map(shorten).collect()
}

/// A size for people.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (count.max(1).ilog2() / 10).min(units.len() as u32 - 1);
    let unit = units[power as usize];
    if power == 0 {
        format!("{count} {unit}")
    } else {
        format!("{:.1} {unit}", count as f64 / 1024f64.powi(power as i32))
    }
}

/// Prints a text; that nobody reads it any more is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::retry("can't write to the standard output").with_source(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let rows = [row(["ä", "1", ""]), row(["long", &"x".repeat(200), "z"])];
        let text = table(&["a", "b", "c"], rows);
        let cut = format!("{}…", "x".repeat(100));
        let pad = " ".repeat(101);
        assert_eq!(text, format!("A     B{}  C\nä     1\nlong  {cut}  z\n", &pad[1..]));
        assert_eq!([0, 1023, 1024, 1536 << 10].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
    }
}
