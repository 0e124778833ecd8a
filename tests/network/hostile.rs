//! F14, F15: slow clients, and more clients than the service accepts.

use std::{
    io::Read,
    net,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{
    Stage,
    client::{Asking, Connection, address, ask, p99, predict},
    common::wait_for,
    process::Plan,
};

const HALF_HEADS: usize = 1000;
const SLOW_BODIES: usize = 100;
const MANY: usize = 4000;
/// The limit of open files of the service in the test of many connections.
const FILES: u32 = 1024;

/// Raises the limit of open files, because the test holds one end of every connection.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|most| most > 2 * MANY as u64);
    assert!(enough, "this test needs {} open files", 2 * MANY);
    setrlimit(Resource::Nofile, Rlimit { current: Some(2 * MANY as u64), ..limit }).unwrap();
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The server's answer to a slow client, and the time from the first byte until it closed.
struct Closed {
    after: Duration,
    said: String,
}

/// Sends the beginning, then nothing or one byte per second, until the server closes.
async fn be_slow(port: u16, beginning: &'static str, dribbles: bool) -> Closed {
    let mut stream = TcpStream::connect(address(port)).await.unwrap();
    let since = Instant::now();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let dribbling = async {
        // An error when sending does not matter: the reader sees the end.
        let second = Duration::from_secs(if dribbles { 1 } else { 3600 });
        loop {
            tokio::time::sleep(second).await;
            let _ = writer.write_all(b"a").await;
        }
    };
    tokio::select! {
        // A reset also counts as the end.
        _ = reader.read_to_end(&mut said) => {}
        () = dribbling => unreachable!("it never ends"),
    }
    Closed { after: since.elapsed(), said: String::from_utf8(said).unwrap() }
}

fn span(closed: &[Closed]) -> (f64, f64) {
    let after = || closed.iter().map(|closed| closed.after.as_secs_f64());
    (after().fold(f64::INFINITY, f64::min), after().fold(0.0, f64::max))
}

#[test]
fn f14_slow_clients_are_closed_in_time_and_nobody_else_waits_for_them() {
    const HEAD: &str = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: a";
    const BODY: &str = "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                        Content-Length: 100\r\n\r\n{";
    let stage = Stage::enter();
    allow_many_files();
    let serve = Plan::new(&stage.up).start_ready();
    let port = serve.port;
    let asking = Asking::start(port);
    std::thread::sleep(Duration::from_secs(4));
    let baseline = asking.end();
    baseline.require_all();
    let baseline = p99(baseline.verdicts.into_iter().map(|(_, took)| took));

    let asking = Asking::start(port);
    let started = Instant::now();
    let (heads, bodies) = runtime().block_on(async {
        let mut heads = JoinSet::new();
        let mut bodies = JoinSet::new();
        for at in 0..HALF_HEADS {
            heads.spawn(be_slow(port, HEAD, at % 2 == 0));
        }
        for _ in 0..SLOW_BODIES {
            bodies.spawn(be_slow(port, BODY, true));
        }
        (heads.join_all().await, bodies.join_all().await)
    });
    let asked = asking.end();
    asked.require_all();
    // The p99 while all slow clients were there, and over the whole time.
    let early = asked.verdicts.iter().filter(|(at, _)| *at < started + Duration::from_secs(9));
    let early = p99(early.map(|&(_, took)| took));
    let all = p99(asked.verdicts.iter().map(|&(_, took)| took));
    let (of_heads, of_bodies) = (span(&heads), span(&bodies));
    eprintln!("F14: heads closed after {of_heads:.2?} s, bodies after {of_bodies:.2?} s");
    eprintln!("F14: p99 {baseline:?} before, {early:?} with 1,100 slow clients, {all:?} all the time");

    assert!(of_heads.0 > 9.0 && of_heads.1 < 12.0, "heads: {of_heads:?}");
    assert!(of_bodies.0 > 28.0 && of_bodies.1 < 33.0, "bodies: {of_bodies:?}");
    for closed in &bodies {
        assert!(closed.said.is_empty() || closed.said.starts_with("HTTP/1.1 408 "), "{}", closed.said);
    }
    let most = 2 * baseline + Duration::from_millis(5);
    assert!(early < most && all < most, "{early:?} and {all:?}, at most {most:?}");
}

/// Connections of idle clients: how many got 503, and how many were closed without an answer.
#[derive(Default)]
struct Crowd {
    told: AtomicUsize,
    closed: AtomicUsize,
}

impl Crowd {
    fn refused(&self) -> usize {
        self.told.load(Ordering::SeqCst) + self.closed.load(Ordering::SeqCst)
    }
}

/// Connects, and sends one byte after a second.
///
/// The system may drop a connection before that, if connections come faster than they are accepted.
async fn be_idle(port: u16, crowd: Arc<Crowd>) {
    let mut said = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address(port)).await {
        let (mut reader, mut writer) = stream.split();
        let byte = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = writer.write_all(b"P").await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = reader.read_to_end(&mut said) => {}
            () = byte => {}
        }
    }
    let counted = if said.starts_with(b"HTTP/1.1 503 ") { &crowd.told } else { &crowd.closed };
    counted.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn f15_more_connections_than_there_is_room_for_are_refused_and_cost_nothing() {
    let stage = Stage::enter();
    allow_many_files();
    let serve = Plan::new(&stage.up).with_files(FILES).start_ready();
    let port = serve.port;
    let mut early = Connection::open(port).unwrap();
    assert_eq!(early.exchange(&predict()).unwrap().status, 200);

    let crowd = Arc::<Crowd>::default();
    let runtime = runtime();
    let started = Instant::now();
    for _ in 0..MANY {
        runtime.spawn(be_idle(port, Arc::clone(&crowd)));
    }
    // All connections are refused but those for which there are files.
    let most = MANY - FILES as usize;
    assert!(wait_for(Duration::from_secs(10), || crowd.refused() >= most), "{} were refused", crowd.refused());
    let took = started.elapsed();
    let share = serve.cpu_share_over(Duration::from_secs(3));
    let (told, closed) = (crowd.told.load(Ordering::SeqCst), crowd.closed.load(Ordering::SeqCst));
    let percent = share * 100.0;
    eprintln!("F15: {told} told and {closed} closed within {took:?}; {percent:.1}% of a core while full");
    let open = MANY - told - closed;
    assert!((500..FILES as usize).contains(&open), "{open} are open");
    assert!(share < 0.5, "{percent:.1}% of a core while full");

    // An earlier client is still served. A new client gets 503.
    assert_eq!(early.exchange(&predict()).unwrap().status, 200);
    let mut late = net::TcpStream::connect(address(port)).unwrap();
    late.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut said = String::new();
    late.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 503 ") && said.contains("/problems/too-many-requests"), "{said}");

    runtime.shutdown_timeout(Duration::from_secs(5));
    let left = Instant::now();
    let is_answered = || ask(port, &predict()).is_ok_and(|answer| answer.status == 200);
    assert!(wait_for(Duration::from_secs(1), is_answered), "no client is accepted after the others left");
    eprintln!("F15: a verdict {:?} after the others left", left.elapsed());
    assert!(!serve.log().contains("panicked"), "{}", serve.log());
}
