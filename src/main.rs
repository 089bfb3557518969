//! The `dashgate` command.

fn main() {}
