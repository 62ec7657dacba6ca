//! Tables for people: columns aligned by what they hold, written as they come.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::style::{Style, Tone, printable};

/// Rows that are looked at before the widths are fixed: a run of millions of measurements is never held whole.
const SAMPLE_ROWS: usize = 1_000;
/// Wider texts push their line out of shape instead of everybody's.
const WIDTH_MAX: usize = 80;

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// Text in this tone; control characters are escaped.
    pub(crate) fn toned(text: &str, tone: Option<Tone>) -> Self {
        Self { text: printable(text).into_owned(), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text.as_ref(), None)
    }
}

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Writes a table.
pub(crate) struct TableWriter<W> {
    out: W,
    style: Style,
    columns: Vec<(&'static str, Align)>,
    widths: Option<Vec<usize>>,
    sample: Vec<Vec<Cell>>,
}

impl<W: Write> TableWriter<W> {
    /// A table with these headings.
    pub(crate) fn new(out: W, style: Style, columns: &[(&'static str, Align)]) -> Self {
        Self { out, style, columns: columns.to_vec(), widths: None, sample: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        debug_assert_eq!(cells.len(), self.columns.len());
        if let Some(widths) = &self.widths {
            return write_row(&mut self.out, self.style, &self.columns, widths, &cells);
        }
        self.sample.push(cells);
        if self.sample.len() >= SAMPLE_ROWS { self.write_sample() } else { Ok(()) }
    }

    /// Writes what is left; a table without rows is nothing at all.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.sample.is_empty() { Ok(()) } else { self.write_sample() }
    }

    fn write_sample(&mut self) -> io::Result<()> {
        let width_of = |at: usize, heading: &str| {
            let cells = self.sample.iter().map(|row| row[at].text.width()).filter(|width| *width <= WIDTH_MAX);
            cells.max().unwrap_or(0).max(heading.width())
        };
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(at, (heading, _))| width_of(at, heading)).collect();
        let heading: Vec<Cell> = self.columns.iter().map(|(text, _)| Cell::toned(text, Some(Tone::Strong))).collect();
        write_row(&mut self.out, self.style, &self.columns, &widths, &heading)?;
        for row in self.sample.drain(..) {
            write_row(&mut self.out, self.style, &self.columns, &widths, &row)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

fn write_row(
    out: &mut impl Write,
    style: Style,
    columns: &[(&'static str, Align)],
    widths: &[usize],
    cells: &[Cell],
) -> io::Result<()> {
    let mut line = String::new();
    for ((cell, width), (_, align)) in cells.iter().zip(widths).zip(columns) {
        let padding = " ".repeat(width.saturating_sub(cell.text.width()));
        let text = cell.tone.map_or_else(|| cell.text.clone(), |tone| style.paint(tone, &cell.text));
        match align {
            Align::Left => line.extend([text.as_str(), &padding, "  "]),
            Align::Right => line.extend([padding.as_str(), &text, "  "]),
        }
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 2]]) -> String {
        let mut out = Vec::new();
        let mut table =
            TableWriter::new(&mut out, Style::new(false), &[("NAME", Align::Left), ("VALUE", Align::Right)]);
        for row in rows {
            table.row(row.iter().map(Cell::from).collect()).unwrap();
        }
        table.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        assert_eq!(
            table(&[["Ω", "1"], ["温度", "22.5"], ["x\ny", ""]]),
            "NAME  VALUE\nΩ         1\n温度   22.5\nx\\ny\n"
        );
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_long_table_is_streamed_after_its_sample() {
        let rows = vec![["a", "1"]; SAMPLE_ROWS + 5];
        let text = table(&rows);
        assert_eq!(text.lines().count(), SAMPLE_ROWS + 6);
        assert_eq!(text.lines().last(), Some("a         1"));
    }
}
