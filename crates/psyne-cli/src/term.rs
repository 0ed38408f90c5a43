//! The one place that prints.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use anyhow::Result;

/// What a piece of text is, for terminals that have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    Plain,
    Good,
    Warning,
    Bad,
    Strong,
    Faint,
}

/// Whether colours are wanted: on a terminal, unless `NO_COLOR` is set (no-color.org).
pub(crate) fn colours() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether somebody looks on.
pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// Lines of the terminal.
pub(crate) fn rows() -> usize {
    rustix::termios::tcgetwinsize(stdout()).map_or(24, |size| usize::from(size.ws_row.max(4)))
}

/// Text in its colour.
pub(crate) fn ink(ink: Ink, text: &str, colours: bool) -> String {
    let code = match ink {
        Ink::Plain => return text.to_owned(),
        _ if !colours => return text.to_owned(),
        Ink::Good => 32,
        Ink::Warning => 33,
        Ink::Bad => 31,
        Ink::Strong => 1,
        Ink::Faint => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Text on standard output, at once.
///
/// # Errors
/// If nobody reads it any more: who prints on and on has to stop then.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A line on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(stderr(), "psyne: {text}");
}
