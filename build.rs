//! Compiles the schema with protox, so that no `protoc` has to be installed.

use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

#[expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts by environment"
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = vec![PathBuf::from("proto/grpc/health/v1/health.proto")];
    for entry in fs::read_dir("proto/dashgate/v1")? {
        files.push(entry?.path());
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "proto")
    });
    files.sort();

    let descriptors = protox::compile(&files, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("dashgate.v1.bin"), descriptors.encode_to_vec())?;

    // `bytes` fields become `Bytes`: media then share the buffer that HTTP/2 filled.
    tonic_prost_build::configure()
        .bytes(".dashgate.v1")
        .codec_path("crate::grpc::codec::Codec")
        // Messages are handed on by value, some ten times from the wire to a call and back. What is
        // large and rare in them goes in a box.
        .boxed(".dashgate.v1.ConverseRequest.options")
        .boxed(".dashgate.v1.ConverseStreamRequest.options")
        .boxed(".dashgate.v1.ConverseResponse.usage")
        .boxed(".dashgate.v1.ConverseStreamResponse.event.completed")
        .compile_fds(descriptors)?;
    Ok(())
}
