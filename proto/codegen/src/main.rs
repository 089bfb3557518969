//! `cargo run --package dashgate-codegen` regenerates the committed code.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    dashgate_codegen::generate(&dashgate_codegen::schema(), &dashgate_codegen::committed())
}
