//! F13: invalid and hostile request bodies.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use crate::{
    Stage,
    client::{Answer, Connection, ask, predict},
    process::{Plan, Serve},
};

/// A word in every request, which must be in no answer.
const CANARY: &str = "xylophonequagmire";
/// The time limit for an answer.
const IN_TIME: Duration = Duration::from_secs(5);
/// How often each request is sent at once.
const AT_ONCE: usize = 8;
/// The most bytes that the buffers of both ends hold before the server closes.
const IN_BUFFERS: usize = 16 << 20;

/// A hostile request: `bytes`, then `flood` again and again.
struct Hostile {
    name: &'static str,
    status: u16,
    bytes: Vec<u8>,
    flood: Vec<u8>,
    /// The total length of the flood.
    length: usize,
}

impl Hostile {
    fn body(name: &'static str, status: u16, headers: &str, body: &[u8]) -> Self {
        let mut bytes = head(&format!("Content-Length: {}\r\n{headers}", body.len()));
        bytes.extend(body);
        Self { name, status, bytes, flood: Vec::new(), length: 0 }
    }

    fn flood(name: &'static str, headers: &str, flood: String, length: usize) -> Self {
        Self { name, status: 413, bytes: head(headers), flood: flood.into_bytes(), length }
    }

    /// Sends it while the server accepts bytes. Returns the answer and the number of bytes sent.
    fn send(&self, serve: &Serve) -> (Answer, usize) {
        let mut connection = Connection::open(serve.port).unwrap();
        let mut writer = connection.writer();
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                let mut sent = 0;
                // An error means that the server has closed.
                let mut is_taken = writer.write_all(&self.bytes).is_ok();
                while is_taken && sent < self.length {
                    is_taken = writer.write_all(&self.flood).is_ok();
                    sent += self.flood.len();
                }
                sent
            });
            let answer = connection.receive().unwrap_or_else(|error| panic!("{}: {error}", self.name));
            drop(connection);
            (answer, sending.join().unwrap())
        })
    }
}

fn head(headers: &str) -> Vec<u8> {
    let json = if headers.contains("Content-Type") { "" } else { "Content-Type: application/json\r\n" };
    let canary = format!("X-Canary: {CANARY}\r\nUser-Agent: {CANARY}\r\n");
    format!("POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n{json}{canary}{headers}\r\n").into_bytes()
}

/// Zeros compressed by gzip, to a 150th of their size.
fn bomb(kilobytes: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, with the fixed code; one zero.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    bits.push(0b0000_1100, 8);
    for _ in 0..kilobytes * 4 {
        // Repeats the byte before 258 times.
        bits.push(0b1010_0011, 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend(bits.bytes);
    bytes
}

fn hostile() -> Vec<Hostile> {
    let text = |text: &str| format!("{{\"text\":\"{CANARY} {text}\"}}");
    let filler = format!("{CANARY} ").repeat(3600);
    let chunk = format!("{:x}\r\n{filler}\r\n", filler.len());
    let mut not_utf8 = text("?").into_bytes();
    let at = not_utf8.iter().position(|&byte| byte == b'?').unwrap();
    not_utf8[at] = 0xff;
    let deep = format!("{{\"text\":{}\"{CANARY}\"", "[".repeat(100_000));
    let twice = format!("{{\"text\":\"a\",\"text\":\"{CANARY}\"}}");
    let of_bytes = |name, body: &[u8]| Hostile::body(name, 400, "", body);
    vec![
        Hostile::flood("200 MB", "Content-Length: 209715200\r\n", filler, 200 << 20),
        Hostile::flood("endless chunks", "Transfer-Encoding: chunked\r\n", chunk, 1 << 30),
        of_bytes("no UTF-8", &not_utf8),
        of_bytes("U+0000", text("\\u0000").as_bytes()),
        of_bytes("a lone surrogate", text("\\ud800").as_bytes()),
        of_bytes("100,000 levels", deep.as_bytes()),
        of_bytes("a field twice", twice.as_bytes()),
        of_bytes("another type", format!("{{\"text\":[\"{CANARY}\"]}}").as_bytes()),
        of_bytes("an unknown field", format!("{{\"text\":\"a\",\"{CANARY}\":1}}").as_bytes()),
        of_bytes("nothing", b""),
        Hostile::body("a bomb", 415, "Content-Encoding: gzip\r\n", &bomb(30_000)),
        Hostile::body("no JSON", 415, "Content-Type: text/plain\r\n", text("").as_bytes()),
    ]
}

#[test]
fn f13_hostile_bodies_are_refused_in_time_without_a_word_of_them_and_cost_no_memory() {
    let stage = Stage::enter();
    let serve = Plan::new(&stage.up).start_ready();
    for _ in 0..100 {
        assert_eq!(ask(serve.port, &predict()).unwrap().status, 200);
    }
    let before = serve.memory();
    for hostile in hostile() {
        let name = hostile.name;
        std::thread::scope(|scope| {
            let send = || {
                let started = Instant::now();
                let (answer, sent) = hostile.send(&serve);
                (answer, sent, started.elapsed())
            };
            let sending: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(send)).collect();
            for sent in sending {
                let (answer, sent, took) = sent.join().unwrap();
                answer.problem();
                assert_eq!(answer.status, hostile.status, "{name}: {answer:?}");
                assert!(!format!("{answer:?}").contains(CANARY), "{name}: {answer:?}");
                assert!(took < IN_TIME, "{name}: {took:?}");
                assert!(sent <= IN_BUFFERS, "{name}: {sent} bytes were taken");
            }
        });
    }
    let grown = serve.peak_memory().saturating_sub(before);
    eprintln!("F13: {} KB more memory at most", grown / 1024);
    assert!(grown <= 32 << 20, "{grown} bytes more");
    assert_eq!(ask(serve.port, &predict()).unwrap().status, 200);
    assert!(!serve.log().contains(CANARY));
}

/// Bits in the order of RFC 1951: the first is the lowest of its byte.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn push(&mut self, bits: u8, count: usize) {
        for at in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= (bits >> at & 1) << (self.count % 8);
            self.count += 1;
        }
    }
}
