//! A TCP proxy that passes everything on, refuses connections, or takes them and says nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{copy, copy_bidirectional, sink},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::watch,
};

use crate::client::address;

/// What the proxy does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Nobody listens, and every connection is closed.
    Refuse,
    /// Connections are taken and what comes is swallowed. A connection that went silent stays so.
    Silent,
}

/// The proxy; its port stays the same whatever it does.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    reached: watch::Receiver<Mode>,
    open: Arc<Open>,
    runtime: Runtime,
}

/// Connections that clients hold open.
#[derive(Default)]
struct Open {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Proxy {
    pub(crate) fn start(target: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = threatwatch::up::free_listener().unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let (mode, wanted) = watch::channel(Mode::Pass);
        let (reaching, reached) = watch::channel(Mode::Pass);
        let open = Arc::<Open>::default();
        let listener = {
            let _within = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        runtime.spawn(run(listener, address(target), wanted, reaching, Arc::clone(&open)));
        Self { port, mode, reached, open, runtime }
    }

    /// From when this returns, it does so.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        let mut reached = self.reached.clone();
        self.runtime.block_on(async { reached.wait_for(|reached| *reached == mode).await.map(drop) }).unwrap();
    }

    /// The most connections that were open at once since it was asked last.
    pub(crate) fn most_open(&self) -> usize {
        self.open.most.swap(self.open.now.load(Ordering::SeqCst), Ordering::SeqCst)
    }
}

async fn run(
    listener: TcpListener,
    target: SocketAddr,
    mut wanted: watch::Receiver<Mode>,
    reached: watch::Sender<Mode>,
    open: Arc<Open>,
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
                tokio::spawn(connection(socket, target, wanted.clone(), Arc::clone(&open)));
            }
        };
        let mut changes = wanted.clone();
        tokio::select! {
            () = accepting => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

async fn connection(mut socket: TcpStream, target: SocketAddr, mut wanted: watch::Receiver<Mode>, open: Arc<Open>) {
    let _open = Counted::new(&open);
    if *wanted.borrow() == Mode::Pass {
        let Ok(mut server) = TcpStream::connect(target).await else { return };
        let _ = (socket.set_nodelay(true), server.set_nodelay(true));
        tokio::select! {
            _ = copy_bidirectional(&mut socket, &mut server) => return,
            _ = wanted.wait_for(|mode| *mode != Mode::Pass) => {}
        }
    }
    if *wanted.borrow() == Mode::Silent {
        // Until the client gives up, also when others are passed on again.
        let mut nowhere = sink();
        tokio::select! {
            _ = copy(&mut socket, &mut nowhere) => {}
            _ = wanted.wait_for(|mode| *mode == Mode::Refuse) => {}
        }
    }
}

/// A connection that is open, for as long as this lives.
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

mod tests {
    use std::{
        io::{Read, Write},
        net,
        time::Duration,
    };

    use super::{Mode, Proxy};
    use crate::client::address;

    #[test]
    fn the_proxy_does_what_it_is_told() {
        let server = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap().port());
        let echo = std::thread::spawn(move || {
            let (mut socket, _) = server.accept().unwrap();
            let mut byte = [0];
            // A connection that is cut with bytes on their way ends with an error.
            while socket.read(&mut byte).is_ok_and(|read| read == 1) && socket.write_all(&byte).is_ok() {}
        });
        let mut client = net::TcpStream::connect(address(proxy.port)).unwrap();
        let mut byte = [0];
        client.write_all(b"a").unwrap();
        client.read_exact(&mut byte).unwrap();
        assert_eq!((byte, proxy.most_open()), (*b"a", 1));

        proxy.set(Mode::Silent);
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        client.write_all(b"b").unwrap();
        assert!(client.read_exact(&mut byte).is_err(), "{byte:?}");
        echo.join().unwrap();

        proxy.set(Mode::Refuse);
        assert!(net::TcpStream::connect(address(proxy.port)).is_err());
        proxy.set(Mode::Silent);
        assert!(net::TcpStream::connect(address(proxy.port)).is_ok());
    }
}
