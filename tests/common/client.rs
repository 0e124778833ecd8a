//! A small HTTP client that shows what happens on its connection.

#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

/// A comment that is a threat, as a body of `POST /predict`.
pub(crate) const COMMENT: &str = r#"{"text":"I will come to your house and kill you."}"#;
/// The time limit for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The bytes of a request. Headers end with `\r\n` each.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let json = "Content-Type: application/json\r\n";
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{json}{length}{headers}\r\n{body}").into_bytes()
}

/// The bytes of a request for a verdict.
pub(crate) fn predict() -> Vec<u8> {
    request("POST", "/predict", "", COMMENT)
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(ours, _)| ours.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The kind of the problem in the body.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["type"].as_str().unwrap().to_owned()
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(address(port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// The other end of the same connection, for a thread that writes.
    pub(crate) fn writer(&self) -> TcpStream {
        self.0.get_ref().try_clone().unwrap()
    }

    /// Reads one answer to its end.
    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let broken = || io::Error::other(format!("no head of an answer: {head}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        answer.body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(answer)
    }

    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.send(bytes)?;
        self.receive()
    }
}

/// Sends one request on a new connection.
pub(crate) fn ask(port: u16, bytes: &[u8]) -> io::Result<Answer> {
    Connection::open(port)?.exchange(bytes)
}

pub(crate) fn get(port: u16, path: &str) -> io::Result<Answer> {
    ask(port, &request("GET", path, "", ""))
}

/// Requests verdicts one by one on one connection, until it is ended.
pub(crate) struct Asking {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Asked>,
}

/// The results of the requests.
#[derive(Default)]
pub(crate) struct Asked {
    /// When each verdict was requested, and how long it took.
    pub(crate) verdicts: Vec<(Instant, Duration)>,
    pub(crate) failures: Vec<String>,
}

impl Asking {
    pub(crate) fn start(port: u16) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let is_ended = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let mut asked = Asked::default();
            let mut connection = Connection::open(port).unwrap();
            let bytes = predict();
            while !is_ended.load(Ordering::Relaxed) {
                let started = Instant::now();
                match connection.exchange(&bytes) {
                    Ok(answer) if answer.status == 200 => asked.verdicts.push((started, started.elapsed())),
                    Ok(answer) => asked.failures.push(format!("{answer:?}")),
                    Err(error) => {
                        asked.failures.push(error.to_string());
                        connection = Connection::open(port).unwrap();
                    }
                }
            }
            asked
        });
        Self { ended, thread }
    }

    pub(crate) fn end(self) -> Asked {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

impl Asked {
    /// Checks that every verdict came.
    pub(crate) fn require_all(&self) {
        assert_eq!(self.failures, Vec::<String>::new(), "beside {} verdicts", self.verdicts.len());
        assert!(self.verdicts.len() > 100, "only {} verdicts were asked for", self.verdicts.len());
    }
}

/// The duration that 99 of 100 do not exceed.
pub(crate) fn p99(took: impl IntoIterator<Item = Duration>) -> Duration {
    let mut took: Vec<Duration> = took.into_iter().collect();
    assert!(took.len() >= 100, "{} are too few for a percentile", took.len());
    took.sort_unstable();
    took[took.len() * 99 / 100]
}
