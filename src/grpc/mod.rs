//! The front door: the only room that knows tonic and the generated types.

pub mod pb;
