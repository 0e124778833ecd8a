//! `/codec`: a remote codec server, with which Temporal's Web UI and CLI read encrypted payloads.

use std::collections::BTreeMap;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use poem_openapi::{Object, OpenApi, payload::Json};
use workflows::codec::{self, Codec};

use super::{Tag, answers};
use crate::{
    body::Body,
    caller::{By, Operate},
    context::Context,
    problem::Problem,
};

pub(crate) struct CodecRoutes(pub(crate) Context);

/// Base64 with or without padding: the JSON of a protobuf may have both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Payloads, as the JSON of Temporal's protobuf.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct Payloads {
    /// The payloads.
    #[oai(default)]
    payloads: Vec<Payload>,
}

/// A payload.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct Payload {
    /// Metadata, e.g. `encoding`. The values are in base64.
    #[oai(default)]
    metadata: BTreeMap<String, String>,
    /// The bytes, in base64.
    #[oai(default)]
    data: String,
}

answers! {
    /// Answers of `/codec/encode` and `/codec/decode`.
    CodecAnswer {
        /// The same payloads, encrypted or decrypted.
        #[oai(status = 200)]
        Ok(Json<Payloads>),
    }
}

#[OpenApi(tag = "Tag::Operations")]
impl CodecRoutes {
    /// Encrypt payloads, as Temporal's remote codec server.
    ///
    /// For inputs that are typed into Temporal's Web UI or CLI.
    #[oai(path = "/codec/encode", method = "post")]
    async fn encode(&self, _by: By<Operate>, body: Body<Payloads>) -> CodecAnswer {
        self.answer(body.0, Codec::seal)
    }

    /// Decrypt payloads, as Temporal's remote codec server.
    ///
    /// Payloads that are not encrypted are returned unchanged.
    #[oai(path = "/codec/decode", method = "post")]
    async fn decode(&self, _by: By<Operate>, body: Body<Payloads>) -> CodecAnswer {
        self.answer(body.0, Codec::open)
    }
}

type Coding = fn(&Codec, Vec<codec::Payload>) -> Result<Vec<codec::Payload>, codec::Error>;

impl CodecRoutes {
    fn answer(&self, Payloads { payloads }: Payloads, coding: Coding) -> CodecAnswer {
        let codec = self.0.orchestrator.codec();
        if !codec.encrypts() {
            return Problem::not_found(format!("Payloads are not encrypted: {} is not set.", codec::SETTING)).into();
        }
        let read: Option<Vec<codec::Payload>> = payloads.into_iter().map(read).collect();
        let Some(read) = read else {
            return Problem::malformed("`data` and the values of `metadata` must be base64.").into();
        };
        match coding(codec, read) {
            Ok(coded) => CodecAnswer::Ok(Json(Payloads { payloads: coded.into_iter().map(written).collect() })),
            Err(error) => Problem::invalid(error.to_string()).into(),
        }
    }
}

fn read(payload: Payload) -> Option<codec::Payload> {
    // A protobuf's JSON may also use the URL-safe alphabet.
    let bytes = |text: &str| BASE64.decode(text.replace('-', "+").replace('_', "/")).ok();
    let metadata = payload.metadata.iter().map(|(name, value)| Some((name.clone(), bytes(value)?)));
    Some(codec::Payload {
        metadata: metadata.collect::<Option<_>>()?,
        data: bytes(&payload.data)?,
        ..codec::Payload::default()
    })
}

fn written(payload: codec::Payload) -> Payload {
    let metadata = payload.metadata.iter().map(|(name, value)| (name.clone(), BASE64.encode(value))).collect();
    Payload { metadata, data: BASE64.encode(payload.data) }
}
