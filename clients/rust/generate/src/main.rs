//! Writes the generated code into a folder: `generate PROTO_FOLDER TO_FOLDER`.
//!
//! The schema is compiled with protox, so `protoc` is not required. Its descriptors are written too,
//! for the JSON form of messages: as base64, so that the repository holds text only.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;

const COLUMNS: usize = 100;

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
    let mut descriptors = protox::compile(files, [proto])?;
    // `bytes` fields become `Bytes`, so that retries do not copy media.
    tonic_prost_build::configure()
        .build_server(false)
        .bytes(".dashgate.v1")
        .out_dir(&to)
        .compile_fds(descriptors.clone())?;
    for file in &mut descriptors.file {
        // Comments and positions, which JSON does not need.
        file.source_code_info = None;
    }
    let mut text = String::new();
    for (at, letter) in STANDARD
        .encode(descriptors.encode_to_vec())
        .chars()
        .enumerate()
    {
        if at > 0 && at % COLUMNS == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    fs::write(to.join("descriptors.base64"), text + "\n")?;
    Ok(())
}
