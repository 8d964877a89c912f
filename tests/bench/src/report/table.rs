//! Aligned tables.

use anstyle::{AnsiColor, Style};
use std::io::{self, Write};

/// A titled table.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) headings: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// What stands in a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    text: String,
    /// Whether an aim was reached, where there is one.
    reached: Option<bool>,
}

impl Cell {
    /// Text.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), reached: None }
    }

    /// A number; a dash where there is none.
    pub(crate) fn number(value: Option<f64>, decimals: usize) -> Self {
        Self::new(value.map_or("-".to_owned(), |value| format!("{value:.decimals$}")))
    }

    /// The same text, in the colour of an aim reached or not.
    pub(crate) fn judged(self, reached: Option<bool>) -> Self {
        Self { reached, ..self }
    }

    fn style(&self) -> Style {
        let colour = match self.reached {
            None => return Style::new(),
            Some(true) => AnsiColor::Green,
            Some(false) => AnsiColor::Yellow,
        };
        Style::new().fg_color(Some(colour.into()))
    }
}

impl Table {
    /// Writes the table; the stream decides over colours.
    ///
    /// # Errors
    /// When the stream fails.
    pub(crate) fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let bold = Style::new().bold();
        writeln!(output, "\n{bold}{}{bold:#}", self.title)?;
        let headings = self.headings.iter().map(|heading| Cell::new(*heading)).collect();
        for row in [&headings].into_iter().chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let padding = self.width(column) - cell.text.chars().count();
                let style = cell.style();
                let gap = if column == 0 { "" } else { "  " };
                write!(output, "{gap}{:padding$}{style}{}{style:#}", "", cell.text)?;
            }
            writeln!(output)?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        cells.chain([self.headings[column].chars().count()]).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_judged() {
        let table = Table {
            title: "t".to_owned(),
            headings: vec!["n", "rate"],
            rows: vec![
                vec![Cell::new("1"), Cell::number(Some(12_345.6), 0).judged(Some(true))],
                vec![Cell::new("200"), Cell::number(None, 0)],
            ],
        };
        let mut coloured = Vec::new();
        table.write(&mut coloured).unwrap();
        let coloured = String::from_utf8(coloured).unwrap();
        assert!(coloured.contains("\u{1b}[32m12346\u{1b}[0m"), "{coloured:?}");
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, "\nt\n  n   rate\n  1  12346\n200      -\n");
    }
}
