//! prost as tonic's codec, with buffers sized for this schema.
//!
//! tonic's own codec allocates 8 KiB per response. An idle stream would hold them for minutes, and
//! most events are below 100 bytes.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, EncodeBuf};
use tonic_prost::ProstDecoder;

/// The initial buffer of a message: ten small events. A larger message grows it.
const ROOM: usize = 512;

/// Events that are available at once are sent together, up to this many bytes.
const TOGETHER: usize = 32 * 1024;

/// The initial buffer of a request.
const REQUEST_ROOM: usize = 2 * 1024;

/// The codec of all services.
pub struct Codec<T, U>(PhantomData<fn(T) -> U>);

/// Encodes messages.
pub struct Encoder<T>(PhantomData<fn(T)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Encoder<T> {
        Encoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(BufferSettings::new(REQUEST_ROOM, TOGETHER))
    }
}

impl<T: Message> tonic::codec::Encoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Reserved at once: a growing buffer would copy an answer's audio each time. `encode` would
        // measure the message again to check the capacity.
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ROOM, TOGETHER)
    }
}
