//! Compiles the schema with protox, so that no `protoc` has to be installed.

use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files: Vec<PathBuf> = fs::read_dir("proto/dashgate/v1")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();

    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("dashgate.v1.bin"), descriptors.encode_to_vec())?;

    // `bytes` fields become `Bytes`: media then share the buffer that HTTP/2 filled.
    tonic_prost_build::configure()
        .bytes(".dashgate.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
