//! TLS: a real client, a certificate that is replaced, a key that does not fit.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use registry::{MemoryStore, Registry, Store};
use reqwest::{Certificate, Client, tls::Version};

use crate::{service_on, start_with};

/// Writes a certificate for localhost, signed by a new authority. Returns the authority.
fn write_certificate(folder: &Path) -> Certificate {
    let authority = CertifiedIssuer::self_signed(authority(), KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(folder.join("certificate.pem"), own.pem()).unwrap();
    Certificate::from_pem(authority.pem().as_bytes()).unwrap()
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
}

fn client(authority: &Certificate, highest: Version) -> Client {
    let builder = Client::builder().no_proxy().tls_certs_only([authority.clone()]).max_tls_version(highest);
    builder.timeout(Duration::from_secs(5)).build().unwrap()
}

fn files(folder: &Path) -> api::CertificateFiles {
    api::CertificateFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") }
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path());
    let store = Arc::new(MemoryStore::default());
    let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
    let mut service = service_on(&registry);
    service.certificate = Some(files(folder.path()));
    let service = start_with(store, service).await;
    let url = service.url.replace("http://", "https://") + "/health/live";
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let answer = client(&first, version).get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    }
    assert!(service.client.get(format!("{}/health/live", service.url)).send().await.is_err(), "no plain HTTP");

    let second = write_certificate(folder.path());
    let started = Instant::now();
    while client(&second, Version::TLS_1_3).get(&url).send().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "the new certificate is in use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(client(&first, Version::TLS_1_3).get(&url).send().await.is_err(), "the old one is not");

    // A key that does not fit the certificate, and half a file: the second certificate stays in use.
    fs::write(folder.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(client(&second, Version::TLS_1_3).get(&url).send().await.is_ok());
    fs::write(folder.path().join("certificate.pem"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(client(&second, Version::TLS_1_3).get(&url).send().await.is_ok());
    let third = write_certificate(folder.path());
    let started = Instant::now();
    while client(&third, Version::TLS_1_3).get(&url).send().await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(10), "it recovers");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn files_that_are_no_certificate_are_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let registry = Registry::new(Arc::new(MemoryStore::default()));
        let mut service = service_on(&registry);
        service.certificate = Some(files(folder.path()));
        api::serve(service, "127.0.0.1:0".parse().unwrap(), |_| (), std::future::ready(()))
    };
    let missing = format!("{:#}", start().await.unwrap_err());
    assert!(missing.contains("read") && missing.contains("certificate.pem"), "{missing}");
    write_certificate(folder.path());
    let key = folder.path().join("key.pem");
    fs::write(&key, "nothing").unwrap();
    let broken = format!("{:#}", start().await.unwrap_err());
    assert!(broken.contains("key.pem has no private key in PEM"), "{broken}");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let foreign = format!("{:#}", start().await.unwrap_err());
    assert!(foreign.contains("key.pem") && foreign.contains("certificate.pem"), "{foreign}");
    write_certificate(folder.path());
    start().await.unwrap();
}
