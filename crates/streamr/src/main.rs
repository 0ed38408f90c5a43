//! The `streamr` command.
fn main() {}
