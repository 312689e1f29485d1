//! WebSocket: the handshake, the frames, and the connection that carries one session.

pub mod connection;
pub mod frame;
pub mod handshake;
