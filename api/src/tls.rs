//! TLS: the certificate and its key, read from files again when they change.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// How often the files are checked.
const LOOK: Duration = Duration::from_secs(2);

/// Where the certificate is.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain in PEM, the service's own certificate first.
    pub certificate: PathBuf,
    /// Its private key in PEM: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// The current certificate.
pub(crate) struct Certificate {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    current: Arc<Current>,
    /// The contents of the files when they were read.
    seen: Contents,
}

#[derive(Debug)]
struct Current(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    /// Reads the files. The error names the wrong one.
    pub(crate) fn read(files: CertificateFiles) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (key, seen) = read(&files, &provider)?;
        Ok(Self { files, provider, current: Arc::new(Current(ArcSwap::from_pointee(key))), seen })
    }

    /// Accepts TLS 1.2 and 1.3, with the current certificate.
    pub(crate) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Follows the files for ever.
    ///
    /// Files that do not fit together change nothing and are logged once.
    pub(crate) async fn follow(mut self) {
        let mut said = None;
        loop {
            tokio::time::sleep(LOOK).await;
            if said.is_none() && contents(&self.files).is_ok_and(|now| now == self.seen) {
                continue;
            }
            match read(&self.files, &self.provider) {
                Ok((key, read)) => {
                    self.current.0.store(Arc::new(key));
                    (self.seen, said) = (read, None);
                    tracing::info!(certificate = %self.files.certificate.display(), "the new certificate is in use");
                }
                // One file may be new and the other not yet. The next round tries again.
                Err(error) => {
                    let reason = format!("{error:#}");
                    if said.as_ref() != Some(&reason) {
                        tracing::warn!(reason, "the new certificate cannot be read; the old one stays in use");
                        said = Some(reason);
                    }
                }
            }
        }
    }
}

type Contents = (Vec<u8>, Vec<u8>);

fn contents(files: &CertificateFiles) -> anyhow::Result<Contents> {
    let file = |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));
    Ok((file(&files.certificate)?, file(&files.key)?))
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> anyhow::Result<(CertifiedKey, Contents)> {
    let contents = contents(files)?;
    let (certificate, key) = (files.certificate.display(), files.key.display());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents.0).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.with_context(|| format!("{certificate} has no certificate in PEM"))?;
    let private =
        PrivateKeyDer::from_pem_slice(&contents.1).map_err(|_| anyhow::anyhow!("{key} has no private key in PEM"))?;
    // Also checks that the key fits the certificate.
    let certified = CertifiedKey::from_der(chain, private, provider);
    let certified = certified.with_context(|| format!("use {certificate} with {key}"))?;
    Ok((certified, contents))
}
