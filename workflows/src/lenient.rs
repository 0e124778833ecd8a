//! Workflow input that is never lost while it is decoded.
//!
//! A typed input that does not parse would leave the run RUNNING for ever: its workflow task fails and is retried.
//! Here the error is kept as data and fails the run, with a message that names the field.

use serde::{Serialize, de::DeserializeOwned};
use temporalio_common::{
    data_converters::{
        GenericPayloadConverter, PayloadConversionError, SerializationContext, TemporalDeserializable,
        TemporalSerializable,
    },
    protos::temporal::api::common::v1::Payload,
};
use temporalio_sdk::{ApplicationFailure, WorkflowTermination};

use crate::failure;

/// One JSON object, or why the input is not one.
///
/// No input and `null` are read as `{}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lenient<T>(pub Result<T, String>);

impl<T> Lenient<T> {
    /// The input, or the failure that ends the run at once.
    pub(crate) fn require(self, check: impl Fn(&T) -> Result<(), String>) -> Result<T, WorkflowTermination> {
        let checked = self.0.and_then(|input| check(&input).map(|()| input));
        checked.map_err(|reason| fail(failure::INVALID_INPUT, format!("invalid input: {reason}")))
    }
}

/// A failure that ends the run with `message`.
pub(crate) fn fail(kind: &str, message: String) -> WorkflowTermination {
    ApplicationFailure::builder(message).type_name(kind.to_owned()).non_retryable(true).build().into()
}

impl<T> From<T> for Lenient<T> {
    fn from(input: T) -> Self {
        Self(Ok(input))
    }
}

impl<T: Serialize + 'static> TemporalSerializable for Lenient<T> {
    fn to_payload(&self, context: &SerializationContext<'_>) -> Result<Payload, PayloadConversionError> {
        match &self.0 {
            Ok(input) => context.converter.to_payload(context, input),
            Err(reason) => Err(PayloadConversionError::EncodingError(reason.clone().into())),
        }
    }
}

impl<T: DeserializeOwned + 'static> TemporalDeserializable for Lenient<T> {
    fn from_payload(context: &SerializationContext<'_>, payload: Payload) -> Result<Self, PayloadConversionError> {
        Self::from_payloads(context, vec![payload])
    }

    fn from_payloads(_: &SerializationContext<'_>, payloads: Vec<Payload>) -> Result<Self, PayloadConversionError> {
        Ok(Self(match &payloads[..] {
            [] => read(b"{}"),
            [payload] => json(payload).and_then(read),
            more => Err(format!("expected one JSON object, got {} inputs", more.len())),
        }))
    }
}

fn json(payload: &Payload) -> Result<&[u8], String> {
    let encoding = payload.metadata.get("encoding").map_or(&b""[..], |encoding| &encoding[..]);
    match encoding {
        b"binary/null" => Ok(b"{}"),
        b"json/plain" if payload.data == b"null" => Ok(b"{}"),
        b"json/plain" => Ok(&payload.data),
        other => Err(format!("expected one JSON object, got the encoding `{}`", String::from_utf8_lossy(other))),
    }
}

fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        if path == "." { reason } else { format!("`{path}`: {reason}") }
    })?;
    deserializer.end().map_err(|_| "there is more text after the JSON object".to_owned())?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use crate::steps::{PromoteRequest, TrainRequest};
    use temporalio_common::data_converters::{
        PayloadConverter, SerializationContextData, WorkflowSerializationContext,
    };

    use super::*;

    fn decode<T: DeserializeOwned + 'static>(inputs: &[&str]) -> Result<T, String> {
        let converter = PayloadConverter::default();
        let data = SerializationContextData::Workflow(WorkflowSerializationContext::new());
        let context = SerializationContext::new(&data, &converter);
        let payload = |json: &&str| Payload {
            metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
            data: json.as_bytes().to_vec(),
            ..Default::default()
        };
        Lenient::<T>::from_payloads(&context, inputs.iter().map(payload).collect()).unwrap().0
    }

    #[test]
    fn no_input_null_and_an_empty_object_are_the_defaults() {
        for inputs in [&[][..], &["null"][..], &["{}"][..]] {
            assert_eq!(decode::<TrainRequest>(inputs), Ok(TrainRequest::default()), "{inputs:?}");
        }
    }

    #[test]
    fn a_wrong_input_is_carried_with_the_fields_name() {
        for (inputs, named) in [
            (&[r#"{"trainerz":[]}"#][..], "trainerz"),
            (&[r#"{"trainers":"multinomial_nb"}"#][..], "`trainers`"),
            (&[r#"{"seed":"x"}"#][..], "`seed`"),
            (&[r#"{"dataset":"x"}"#][..], "`dataset`"),
            (&["{}", "{}"][..], "2 inputs"),
            (&["[1]"][..], "sequence"),
        ] {
            let error = decode::<TrainRequest>(inputs).unwrap_err();
            assert!(error.contains(named), "{inputs:?}: {error}");
        }
        let error = decode::<PromoteRequest>(&[]).unwrap_err();
        assert!(error.contains("version"), "{error}");
    }
}
