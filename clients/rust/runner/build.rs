//! Compiles the schema, for the conversion from and to proto3 JSON.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let proto = Path::new("../../../proto");
    println!("cargo:rerun-if-changed={}", proto.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(proto.join("dashgate/v1"))? {
        files.push(entry?.path());
    }
    files.sort();
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(files, [proto])?;
    fs::write(out.join("schema.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
