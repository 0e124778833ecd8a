//! A TLS proxy in front of a Temporal server.
//!
//! Like a hosted one, it requires client certificates and API keys.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Certificates in a folder, each `NAME.pem` with `NAME.key`: `server`, `client`, `expired`; the authorities `ca` and
/// `other-ca`; `stranger` is a client of the other one.
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    pub(crate) fn make(folder: &Path) -> Self {
        let authority = || {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
        };
        let (ours, other) = (authority(), authority());
        std::fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
        std::fs::write(folder.join("other-ca.pem"), other.pem()).unwrap();
        for (name, issuer, is_over) in
            [("server", &ours, false), ("client", &ours, false), ("expired", &ours, true), ("stranger", &other, false)]
        {
            let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            if is_over {
                params.not_after = rcgen::date_time_ymd(2020, 1, 1);
                params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            }
            let key = KeyPair::generate().unwrap();
            std::fs::write(folder.join(format!("{name}.pem")), params.signed_by(&key, issuer).unwrap().pem()).unwrap();
            std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self(folder.to_owned())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// What a proxy asks for.
#[derive(Clone)]
pub(crate) struct Asks {
    pub(crate) client_certificate: bool,
    pub(crate) api_key: Option<String>,
}

/// A proxy on a port of its own; it ends with the runtime that it was started on.
pub(crate) struct TlsProxy {
    pub(crate) port: u16,
    /// `authorization` of every request so far, as it came.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl TlsProxy {
    pub(crate) async fn start(certificates: &Certificates, asks: Asks, temporal: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = acceptor(certificates, asks.client_certificate);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, asks, seen) = (acceptor.clone(), asks.clone(), Arc::clone(&recorded));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = move |request| forward(request, asks.clone(), Arc::clone(&seen), temporal);
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), hyper::service::service_fn(serve)).await;
                });
            }
        });
        Self { port, seen }
    }
}

fn acceptor(certificates: &Certificates, asks_for_certificate: bool) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(certificates.path("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key")).unwrap();
    let builder = ServerConfig::builder();
    let builder = if asks_for_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificates.path("ca.pem")).unwrap()).unwrap();
        builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

async fn forward(
    mut request: Request<Incoming>,
    asks: Asks,
    seen: Arc<Mutex<Vec<String>>>,
    temporal: u16,
) -> Result<Answer, Infallible> {
    let shown =
        request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(shown.clone());
    if asks.api_key.is_some_and(|key| shown != format!("Bearer {key}")) {
        return Ok(status("16", "Request unauthorized."));
    }
    let Ok(stream) = TcpStream::connect(("127.0.0.1", temporal)).await else { return Ok(status("14", "no server")) };
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let Ok((mut sender, connection)) = made else { return Ok(status("14", "no HTTP/2")) };
    tokio::spawn(connection);
    let path = request.uri().path().to_owned();
    *request.uri_mut() = format!("http://127.0.0.1:{temporal}{path}").parse().unwrap();
    match sender.send_request(request).await {
        Ok(response) => Ok(response.map(http_body_util::BodyExt::boxed)),
        Err(error) => Ok(status("14", &error.to_string())),
    }
}

/// An answer of gRPC that is only a status.
fn status(code: &str, message: &str) -> Answer {
    let empty = Empty::new().map_err(|never| match never {}).boxed();
    let mut response = Response::new(empty);
    for (name, value) in [("content-type", "application/grpc"), ("grpc-status", code), ("grpc-message", message)] {
        response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    response
}
