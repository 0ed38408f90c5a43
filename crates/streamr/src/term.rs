//! The one place that prints.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

/// What a piece of text is, for terminals that have colours.
#[derive(Clone, Copy)]
pub(crate) enum Ink {
    Good,
    Warning,
    Bad,
    Strong,
}

/// Text in colour if standard output is a terminal and `NO_COLOR` is not set.
pub(crate) fn ink(ink: Ink, text: &str) -> String {
    let plain = !stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let code = match ink {
        _ if plain => return text.to_owned(),
        Ink::Good => 32,
        Ink::Warning => 33,
        Ink::Bad => 31,
        Ink::Strong => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// A line on standard output. A closed pipe is nobody's fault.
pub(crate) fn print(text: &str) {
    let _ = writeln!(stdout(), "{}", text.trim_end_matches('\n'));
}

/// A line on standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(stderr(), "streamr: {text}");
}
