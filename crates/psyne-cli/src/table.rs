//! Columns for people.

use crate::term::{Ink, ink};

/// A cell: what it says, and how.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    ink: Ink,
    right: bool,
}

/// A word.
pub(crate) fn word(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), ink: Ink::Plain, right: false }
}

/// A number, or what stands in its place.
pub(crate) fn number(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), ink: Ink::Plain, right: true }
}

impl Cell {
    pub(crate) fn ink(self, ink: Ink) -> Self {
        Self { ink, ..self }
    }
}

/// Rows below their heads, each column as wide as it needs. Numbers stand to the right.
pub(crate) fn render(heads: &[&str], rows: &[Vec<Cell>], colours: bool) -> String {
    let right = |column: usize| rows.first().is_some_and(|row| row[column].right);
    let head = heads.iter().enumerate();
    let head =
        head.map(|(at, text)| Cell { text: (*text).into(), ink: Ink::Faint, right: right(at) });
    let all: Vec<Vec<Cell>> = std::iter::once(head.collect()).chain(rows.iter().cloned()).collect();
    let width = |column: usize| {
        let widths = all.iter().map(|row| row[column].text.chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let pad = " ".repeat(width - cell.text.chars().count());
            let text = ink(cell.ink, &cell.text, colours);
            if cell.right { pad + &text } else { text + &pad }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A count, or so many a second, in at most four digits: `9999`, `12.3 k`, `4.56 M`.
pub(crate) fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")];
    let Some((scale, unit)) = units.into_iter().find(|(scale, _)| value >= *scale) else {
        return if value >= 100.0 || value.fract() == 0.0 {
            format!("{value:.0}")
        } else {
            format!("{value:.1}")
        };
    };
    let value = value / if unit == "k" { 1e3 } else { scale };
    let digits = if value >= 100.0 { 0 } else { 1 };
    format!("{value:.digits$} {unit}")
}

/// Bytes in powers of 1024: `64 B`, `4.0 KiB`.
pub(crate) fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (0..units.len() - 1).find(|power| value < 1024_f64.powi(*power as i32 + 1));
    let power = power.unwrap_or(units.len() - 1);
    let digits = usize::from(power > 0);
    format!("{:.digits$} {}", value / 1024_f64.powi(power as i32), units[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [vec![word("a"), number("1")], vec![word("long").ink(Ink::Good), number("22")]];
        let text = render(&["NAME", "N"], &rows, false);
        assert_eq!(text, "NAME   N\na      1\nlong  22\n");
        assert!(render(&["NAME", "N"], &rows, true).contains("\x1b[32mlong\x1b[0m"));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (9999.0, "9999"),
            (12_345.0, "12.3 k"),
            (999_999.0, "1000 k"),
            (4_560_000.0, "4.6 M"),
            (81e6, "81.0 M"),
            (2.5e9, "2.5 G"),
        ] {
            assert_eq!(short(value), text);
        }
        for (value, text) in [(64.0, "64 B"), (4096.0, "4.0 KiB"), (3e9, "2.8 GiB")] {
            assert_eq!(bytes(value), text);
        }
    }
}
