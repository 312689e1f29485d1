//! WebSocket: the handshake and the frames.

pub mod frame;
pub mod handshake;
pub mod packed;
