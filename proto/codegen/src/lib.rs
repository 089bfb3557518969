//! Generates the gateway's protobuf types and services from the schema.
//!
//! The result is committed, so that building the gateway needs no compiler of schemas.
//! The schema is compiled with protox, so `protoc` is not required.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// The file of the descriptors, for reflection.
const DESCRIPTORS: &str = "dashgate.v1.binpb";

/// Writes the code and the descriptors of the schema in the folder `proto` into the folder `to`.
pub fn generate(proto: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let mut files = vec![proto.join("grpc/health/v1/health.proto")];
    for entry in fs::read_dir(proto.join("dashgate/v1"))? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(&files, [proto])?;
    fs::create_dir_all(to)?;
    fs::write(to.join(DESCRIPTORS), descriptors.encode_to_vec())?;

    // `bytes` fields become `Bytes`: media then share the buffer that HTTP/2 filled.
    tonic_prost_build::configure()
        .bytes(".dashgate.v1")
        .codec_path("crate::grpc::codec::Codec")
        // Messages are passed by value, some ten times from the wire to a call and back. What is
        // large and rare in them is boxed.
        .boxed(".dashgate.v1.ConverseRequest.options")
        .boxed(".dashgate.v1.ConverseStreamRequest.options")
        .boxed(".dashgate.v1.ConverseResponse.usage")
        .boxed(".dashgate.v1.ConverseStreamResponse.event.completed")
        .out_dir(to)
        .compile_fds(descriptors)?;
    Ok(())
}

/// The folder of the schema.
pub fn schema() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder of the committed code.
pub fn committed() -> PathBuf {
    schema().join("../src/grpc/generated")
}
