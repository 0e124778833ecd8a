//! Finds out which setting causes a refused connection.

use std::error::Error as _;

use temporalio_client::{errors::ClientConnectError, tonic};

use super::Error;

/// TLS errors and their meaning for an operator, with the settings to change.
///
/// The first match is used.
const CAUSES: [(&str, &str); 13] = [
    (
        "UnknownIssuer",
        "its certificate is not from a trusted authority: name the authority's certificate in \
         TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    ),
    ("certificate not valid for name", "its certificate is for another name: set that in TEMPORAL_TLS_SERVER_NAME"),
    ("certificate expired", "its certificate has expired"),
    ("certificate not valid yet", "its certificate is not valid yet, or this machine's clock is behind"),
    (
        "invalid peer certificate",
        "its certificate is damaged or not from a trusted authority: see TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    ),
    (
        "CertificateRequired",
        "it asks for a client certificate: set TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
    ("CertificateExpired", "the client certificate of TEMPORAL_TLS_CLIENT_CERT_PATH has expired"),
    ("CertificateRevoked", "the client certificate of TEMPORAL_TLS_CLIENT_CERT_PATH was revoked"),
    ("UnknownCA", "it does not know the authority of the client certificate of TEMPORAL_TLS_CLIENT_CERT_PATH"),
    // Old servers report several of these causes like this.
    (
        "received fatal alert",
        "it refuses the client certificate, or requires one: see TEMPORAL_TLS_CLIENT_CERT_PATH and \
         TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
    (
        "InvalidContentType",
        "it does not speak TLS: unset TEMPORAL_TLS, TEMPORAL_TLS_* and TEMPORAL_API_KEY, or set \
      TEMPORAL_TLS=false",
    ),
    ("frame with invalid size", "it does not speak plain HTTP/2: if it speaks TLS, set TEMPORAL_TLS=true"),
    ("KeyMismatch", "TEMPORAL_TLS_CLIENT_KEY_PATH is not the key of TEMPORAL_TLS_CLIENT_CERT_PATH"),
];

/// Errors of a connection that was closed after it was made.
///
/// TLS 1.3 refuses a client's certificate that late.
const CLOSED: [&str; 3] = ["connection closed", "onnection reset", "roken pipe"];

/// Why there is no connection to `address`.
pub(super) fn of(error: &ClientConnectError, address: &str) -> Error {
    if let ClientConnectError::SystemInfoCallError(status) = error {
        return of_status(status, address);
    }
    of_words(&chain(error), &innermost(error), address)
}

/// Why a request to `address` was not answered.
pub(super) fn of_status(status: &tonic::Status, address: &str) -> Error {
    let said = status.message();
    match status.code() {
        tonic::Code::Unauthenticated => {
            Error::Settings(format!("{address} does not accept TEMPORAL_API_KEY, or requires one: {said}"))
        }
        tonic::Code::PermissionDenied => Error::Settings(format!(
            "{address} denies access: {said}; see TEMPORAL_NAMESPACE, TEMPORAL_API_KEY and \
                 TEMPORAL_TLS_CLIENT_CERT_PATH"
        )),
        _ => match status.source() {
            Some(source) => of_words(&chain(source), &innermost(source), address),
            None => of_words(said, said, address),
        },
    }
}

/// The error for a namespace that does not exist.
pub(super) fn no_namespace(namespace: &str, address: &str) -> Error {
    let place = address.split_once("://").map_or(address, |(_, place)| place).trim_end_matches('/');
    Error::Settings(format!(
        "there is no namespace `{namespace}`: name another one in TEMPORAL_NAMESPACE, or create it with `temporal \
         operator namespace create --address {place} --namespace {namespace}`"
    ))
}

fn of_words(chain: &str, innermost: &str, address: &str) -> Error {
    match CAUSES.iter().find(|(words, _)| chain.contains(words)) {
        Some((_, meaning)) => Error::Settings(format!("no connection to {address}: {meaning} ({innermost})")),
        None if CLOSED.iter().any(|words| chain.contains(words)) => {
            let hint = if address.starts_with("https") {
                "with TLS. A server that requires a client certificate closes a connection like this if it gets none \
                 or refuses it: see TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH"
            } else {
                "without TLS. A server that requires TLS closes it like this: then set TEMPORAL_TLS=true"
            };
            Error::Unreachable(format!("{innermost}, {hint}"))
        }
        None => Error::Unreachable(innermost.to_owned()),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", chain(source)))
}

/// The innermost cause. The SDK's messages for the outer ones contain debug output.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
