//! Writes the generated code into a folder: `generate PROTO_FOLDER TO_FOLDER`.
//!
//! The schema is compiled with protox, so `protoc` is not required.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = env::args_os().skip(1).map(PathBuf::from);
    let (Some(proto), Some(to)) = (folders.next(), folders.next()) else {
        return Err("usage: generate PROTO_FOLDER TO_FOLDER".into());
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(proto.join("dashgate/v1"))? {
        files.push(entry?.path());
    }
    files.sort();
    fs::create_dir_all(&to)?;
    // `bytes` fields become `Bytes`, so that retries do not copy media.
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".dashgate.v1")
        .out_dir(&to)
        .compile_fds(protox::compile(files, [proto])?)?;
    Ok(())
}
