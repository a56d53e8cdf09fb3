//! The frames of a `parlor.v1` client.

use std::borrow::Cow;

use serde::Deserialize;

use super::DropReason;
use super::client_request::ClientRequest;
use super::envelope::{Envelope, Kind};
use super::envelope_fields::{EnvelopeFields, string};

/// Limit of the characters of an `id`.
const MAX_ID_CHARS: usize = 64;

/// A frame of a client, by its receiver.
#[derive(Debug)]
pub(super) enum ClientFrame<'a> {
    /// For other participants.
    Relayed(Envelope<'a>),
    /// The client has received the frames up to this number.
    Seen(u64),
    Update(Update),
    /// For the store.
    Request(ClientRequest),
}

/// A change of the sender's own state.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    pub muted: Option<bool>,
    pub hand_raised: Option<bool>,
    pub display_name: Option<String>,
}

#[derive(Deserialize)]
struct Seen {
    seq: u64,
}

/// A frame with the `id` by which the client knows the answer.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub id: Option<Cow<'a, str>>,
    pub frame: Result<ClientFrame<'a>, DropReason>,
}

impl<'a> ClientFrame<'a> {
    pub(super) fn parse(text: &'a str) -> Parsed<'a> {
        let fields = match EnvelopeFields::<true>::parse(text) {
            Ok(fields) => fields,
            Err(reason) => return Parsed::bad(reason),
        };
        let id = match fields.id.map(string) {
            None => None,
            Some(Some(id)) if (1..=MAX_ID_CHARS).contains(&id.chars().count()) => Some(id),
            Some(_) => return Parsed::bad(DropReason::BadId),
        };
        let frame = ClientFrame::from_fields(text, fields);
        Parsed { id, frame }
    }

    fn from_fields(
        text: &'a str,
        fields: EnvelopeFields<'a, true>,
    ) -> Result<ClientFrame<'a>, DropReason> {
        let word = string(fields.kind.ok_or(DropReason::Missing)?);
        let word = word.ok_or(DropReason::UnknownType)?;
        match &*word {
            "seen" => {
                fields.target()?;
                let Seen { seq } = fields.data()?;
                return Ok(ClientFrame::Seen(seq));
            }
            "update" => {
                fields.target()?;
                let update: Update = fields.data()?;
                let is_empty = update.muted.is_none()
                    && update.hand_raised.is_none()
                    && update.display_name.is_none();
                if is_empty {
                    return Err(DropReason::BadData);
                }
                return Ok(ClientFrame::Update(update));
            }
            _ => {}
        }
        if let Some(request) = ClientRequest::parse(&word, &fields) {
            return request.map(ClientFrame::Request);
        }
        let kind = Kind::from_label(&word).ok_or(DropReason::UnknownType)?;
        let to = fields.target()?;
        Ok(ClientFrame::Relayed(Envelope::new(text, kind, to, fields)))
    }
}

impl Parsed<'_> {
    pub(super) fn bad(reason: DropReason) -> Self {
        Parsed {
            id: None,
            frame: Err(reason),
        }
    }
}
