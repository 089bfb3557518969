//! prost as tonic's codec, with buffers of the size of our messages.
//!
//! tonic's own gives each answer 8 KiB. A silent stream would hold them for minutes, and most
//! events are below 100 bytes.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, EncodeBuf};
use tonic_prost::ProstDecoder;

/// What a message is written into at first: ten small events. A larger message makes itself room.
const ROOM: usize = 512;

/// Events that are there at once leave together, up to so many bytes.
const TOGETHER: usize = 32 * 1024;

/// What a request is read into at first.
const REQUEST_ROOM: usize = 2 * 1024;

/// The codec of all services.
pub struct Codec<T, U>(PhantomData<fn(T) -> U>);

/// Writes messages.
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
        // At once what it takes: a buffer that grows by and by copies an answer's sound each time.
        // `encode` would measure the message once more, to see what is known: that there is room.
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(ROOM, TOGETHER)
    }
}
