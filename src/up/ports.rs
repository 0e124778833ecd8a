//! The ports of the parts, always on 127.0.0.1.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context, bail};

use super::{External, remember};

/// Ports of the parts that users connect to.
#[derive(Clone, Debug, clap::Args)]
pub struct Ports {
    /// Port of the API, the web page and Swagger
    #[arg(long = "port", default_value_t = 8086)]
    pub api: u16,
    /// Port of Temporal
    #[arg(long = "temporal-port", default_value_t = 7233)]
    pub temporal: u16,
    /// Port of the Temporal Web UI
    #[arg(long = "temporal-ui-port", default_value_t = 8233)]
    pub temporal_ui: u16,
    /// Port of the object store
    #[arg(long = "s3-port", default_value_t = 9000)]
    pub s3: u16,
    /// Port of the worker's health and metrics
    #[arg(long = "worker-port", default_value_t = 9095)]
    pub worker: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { api: 8086, temporal: 7233, temporal_ui: 8233, s3: 9000, worker: 9095 }
    }
}

impl Ports {
    /// The API.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api)
    }

    /// Temporal, as `host:port`.
    #[must_use]
    pub fn temporal_address(&self) -> String {
        format!("127.0.0.1:{}", self.temporal)
    }

    /// The Temporal Web UI.
    #[must_use]
    pub fn temporal_ui_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.temporal_ui)
    }

    /// The object store.
    #[must_use]
    pub fn s3_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.s3)
    }

    /// The worker.
    #[must_use]
    pub fn worker_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.worker)
    }

    fn all(&self) -> [u16; 5] {
        [self.api, self.temporal, self.temporal_ui, self.s3, self.worker]
    }

    /// Fails if a port is taken. The error names each one and the flag that changes it.
    pub(crate) fn require_free(&self, external: &External) -> anyhow::Result<()> {
        let mut wanted = vec![("--port", self.api), ("--worker-port", self.worker)];
        if external.temporal.is_none() {
            wanted.extend([("--temporal-port", self.temporal), ("--temporal-ui-port", self.temporal_ui)]);
        }
        if external.s3.is_none() {
            wanted.push(("--s3-port", self.s3));
        }
        for (at, (flag, port)) in wanted.iter().enumerate() {
            if let Some((other, _)) = wanted[..at].iter().find(|(_, p)| p == port) {
                bail!("{other} and {flag} are both {port}");
            }
        }
        let taken = wanted.into_iter().filter(|&(_, port)| !is_free(port));
        let taken: Vec<String> =
            taken.map(|(flag, port)| format!("port {port} is taken: choose another with {flag}")).collect();
        if taken.is_empty() { Ok(()) } else { bail!("{}", taken.join("\n       ")) }
    }
}

/// Ports that only a part itself uses: chosen once, kept in the state directory, chosen again if one is taken.
///
/// None of them is in `ports`, where parts that start later will listen.
pub(crate) fn inner<const N: usize>(
    state_dir: &Path,
    ports: &Ports,
    names: [&'static str; N],
) -> anyhow::Result<[u16; N]> {
    let reserved = ports.all();
    let path = state_dir.join("ports.json");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut known: BTreeMap<String, u16> = serde_json::from_str(&text).unwrap_or_default();
    // Held until all are chosen, so that no two are the same.
    let mut held = Vec::new();
    let mut chosen = [0; N];
    for (name, port) in names.into_iter().zip(&mut chosen) {
        let kept = known.get(name).filter(|port| !reserved.contains(port));
        let kept = kept.and_then(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
        let listener = match kept {
            Some(listener) => listener,
            None => free_listener_but(&reserved)?,
        };
        *port = listener.local_addr()?.port();
        known.insert(name.to_owned(), *port);
        held.push(listener);
    }
    remember(&path, &known)?;
    Ok(chosen)
}

/// Binds a free port below the range that systems use for outgoing connections.
pub fn free_listener() -> anyhow::Result<TcpListener> {
    free_listener_but(&[])
}

fn free_listener_but(reserved: &[u16]) -> anyhow::Result<TcpListener> {
    let candidates = (0..200).map(|_| 20_000 + rand::random::<u16>() % 12_000);
    let candidates = candidates.filter(|port| !reserved.contains(port));
    let mut bound = candidates.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    bound.next().context("find a free port between 20000 and 32000")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = Ports { api: free(), temporal: port, temporal_ui: free(), s3: free(), worker: free() };
        let error = ports.require_free(&External::default()).unwrap_err().to_string();
        assert_eq!(error, format!("port {port} is taken: choose another with --temporal-port"));
        let external = External { temporal: Some("elsewhere:7233".into()), s3: None };
        assert!(ports.require_free(&external).is_ok());
        let twice = Ports { s3: ports.api, ..ports };
        assert!(twice.require_free(&external).unwrap_err().to_string().contains("--port and --s3-port"));
    }

    #[test]
    fn inner_ports_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let inner = |ports: &Ports| inner(dir.path(), ports, ["a", "b"]).unwrap();
        let ports = Ports::default();
        let first = inner(&ports);
        assert_ne!(first[0], first[1]);
        assert_eq!(inner(&ports), first);
        let taken = TcpListener::bind(("127.0.0.1", first[0])).unwrap();
        let again = inner(&ports);
        assert_ne!(again[0], first[0]);
        assert_eq!(again[1], first[1]);
        drop(taken);
        let moved = inner(&Ports { worker: again[1], ..ports });
        assert_eq!(moved[0], again[0]);
        assert_ne!(moved[1], again[1], "the worker will listen there");
    }
}
