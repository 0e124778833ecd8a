//! A proxy in front of a server.
//!
//! It passes everything on, or refuses, stays silent, delays, cuts or damages answers.

#![allow(dead_code, reason = "each test binary uses a part of this")]

mod exchange;

use std::{
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};

pub(crate) use self::exchange::{Asked, Fault};
use crate::client::address;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// The port is closed, and every connection ends.
    Refuse,
    /// Connections are accepted, and their bytes are dropped. A connection that went silent stays silent.
    Silent,
    /// Every piece is delayed by this time, in both directions.
    Slow(Duration),
    /// A connection ends when the server has sent this many bytes.
    Cut(usize),
}

/// Decides what happens to each request over HTTP.
type Rule = Arc<dyn Fn(&Asked) -> Fault + Send + Sync>;

/// The proxy. Its port is the same in every mode.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    reached: watch::Receiver<Mode>,
    passing: Arc<Passing>,
    runtime: Runtime,
}

/// The state that all connections share.
struct Passing {
    target: SocketAddr,
    open: Open,
    /// `None` if bytes are passed on unread.
    rule: Option<RwLock<Rule>>,
}

/// Connections that clients hold open.
#[derive(Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy that passes bytes on unread.
    pub(crate) fn start(target: u16) -> Self {
        Self::with(target, None)
    }

    /// Starts a proxy that reads HTTP and passes requests and answers on one by one.
    ///
    /// There is no fault until a rule is set.
    pub(crate) fn of_http(target: u16) -> Self {
        Self::with(target, Some(RwLock::new(Arc::new(|_: &Asked| Fault::None))))
    }

    fn with(target: u16, rule: Option<RwLock<Rule>>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = threatwatch::up::free_listener().unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (mode, wanted) = watch::channel(Mode::Pass);
        let (reaching, reached) = watch::channel(Mode::Pass);
        let passing = Arc::new(Passing { target: address(target), open: Open::default(), rule });
        let listener = {
            let _within = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        runtime.spawn(run(listener, Arc::clone(&passing), wanted, reaching));
        Self { port, mode, reached, passing, runtime }
    }

    /// Sets the mode. It is in force when this returns.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        let mut reached = self.reached.clone();
        self.runtime.block_on(async { reached.wait_for(|reached| *reached == mode).await.map(drop) }).unwrap();
    }

    /// Sets the rule for later requests.
    pub(crate) fn on(&self, rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static) {
        let of = self.passing.rule.as_ref().expect("a proxy that reads HTTP");
        *of.write().unwrap() = Arc::new(rule);
    }

    /// The most connections that were open at once since the last call.
    pub(crate) fn most_open(&self) -> usize {
        let open = &self.passing.open;
        open.most.swap(open.now.load(Ordering::SeqCst), Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn run(
    listener: TcpListener,
    passing: Arc<Passing>,
    mut wanted: watch::Receiver<Mode>,
    reached: watch::Sender<Mode>,
) {
    let here = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let mode = *wanted.borrow_and_update();
        if mode == Mode::Refuse {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(here).await.unwrap());
        }
        reached.send_replace(mode);
        let accepting = async {
            let Some(listener) = &listener else { return std::future::pending().await };
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(socket, Arc::clone(&passing), wanted.clone()));
            }
        };
        let mut changes = wanted.clone();
        tokio::select! {
            () = accepting => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn connection(mut socket: TcpStream, passing: Arc<Passing>, mut wanted: watch::Receiver<Mode>) {
    let _open = Counted::new(&passing.open);
    let mode = *wanted.borrow();
    if !matches!(mode, Mode::Refuse | Mode::Silent) {
        let Ok(mut server) = TcpStream::connect(passing.target).await else { return };
        let _ = (socket.set_nodelay(true), server.set_nodelay(true));
        tokio::select! {
            () = pass_on(mode, &mut socket, &mut server, &passing) => return,
            _ = wanted.wait_for(|wanted| *wanted != mode) => {}
        }
    }
    if *wanted.borrow() == Mode::Silent {
        // This connection stays silent until the client gives up, also when new connections work again.
        let mut nowhere = sink();
        tokio::select! {
            _ = copy(&mut socket, &mut nowhere) => {}
            _ = wanted.wait_for(|mode| *mode == Mode::Refuse) => {}
        }
    }
}

/// Passes bytes on until either end closes. Every error ends the connection.
async fn pass_on(mode: Mode, socket: &mut TcpStream, server: &mut TcpStream, passing: &Passing) {
    match (mode, &passing.rule) {
        (Mode::Slow(pause), _) => {
            let (mut from_client, mut to_client) = socket.split();
            let (mut from_server, mut to_server) = server.split();
            tokio::select! {
                () = copy_slowly(&mut from_client, &mut to_server, pause) => {}
                () = copy_slowly(&mut from_server, &mut to_client, pause) => {}
            }
        }
        (Mode::Cut(bytes), _) => {
            let (mut from_client, mut to_client) = socket.split();
            let (from_server, mut to_server) = server.split();
            let mut first = from_server.take(bytes as u64);
            tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => {}
                _ = copy(&mut first, &mut to_client) => {}
            }
        }
        (_, Some(rule)) => {
            let rule = |asked: &Asked| rule.read().unwrap()(asked);
            let _ = exchange::exchange(socket, server, rule).await;
        }
        (_, None) => drop(copy_bidirectional(socket, server).await),
    }
}

async fn copy_slowly(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), pause: Duration) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(pause).await;
        if to.write_all(&piece[..read]).await.is_err() {
            return;
        }
    }
}

/// Counts an open connection until it is dropped.
struct Counted<'a>(&'a Open);

impl<'a> Counted<'a> {
    fn new(open: &'a Open) -> Self {
        let now = open.now.fetch_add(1, Ordering::SeqCst) + 1;
        open.most.fetch_max(now, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}
