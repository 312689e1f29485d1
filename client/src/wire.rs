//! The protocol's messages, as bytes and back.

use bytes::Bytes;
use prost::Message as _;
use protocol::dialect::well::wire;

pub(crate) use wire::client_message::Message as Say;
pub(crate) use wire::server_message::Message as Heard;

/// A message to the server, without its length.
pub(crate) fn encode(message: Say) -> Bytes {
    let message = wire::ClientMessage {
        message: Some(message),
    };
    message.encode_to_vec().into()
}

/// A message from the server; `None` for a kind that this client does not know.
pub(crate) fn decode(message: Bytes) -> Result<Option<Heard>, prost::DecodeError> {
    Ok(wire::ServerMessage::decode(message)?.message)
}
