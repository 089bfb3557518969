//! The back door: the only room that knows HTTP and DashScope's JSON.
