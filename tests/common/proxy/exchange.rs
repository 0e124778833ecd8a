//! Passes on HTTP/1.1 requests and answers one by one, and puts faults into the chosen ones.

use std::io;

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// The part of a request that a rule gets.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
}

/// What goes wrong with a request or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The request does not reach the server. The answer is an S3 error: status and code.
    Error(u16, &'static str),
    /// The server handles the request. The connection ends in place of the answer.
    LostReply,
    /// The connection ends after this many bytes of the answer's body.
    CutBody(usize),
    /// The body ends after this many bytes, and `Content-Length` of the answer agrees.
    ShortBody(usize),
    /// Nothing comes after this many bytes of the body, and the connection stays open.
    SilentBody(usize),
    /// One bit of the body is flipped, by its number from the body's start.
    FlippedBit(usize),
}

/// Passes requests and answers on until either end closes or a fault ends the connection.
pub(super) async fn exchange(
    client: &mut TcpStream,
    server: &mut TcpStream,
    rule: impl Fn(&Asked) -> Fault,
) -> io::Result<()> {
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let (mut from_client, mut from_server) = (BufReader::new(from_client), BufReader::new(from_server));
    loop {
        let head = Head::read(&mut from_client).await?;
        if head.header("expect").is_some() {
            to_client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = head.body(&mut from_client, true).await?;
        let asked = head.asked();
        let fault = rule(&asked);
        if let Fault::Error(status, code) = fault {
            to_client.write_all(&error(status, code)).await?;
            continue;
        }
        to_server.write_all(head.text.as_bytes()).await?;
        to_server.write_all(&body).await?;
        let mut answer = Head::read(&mut from_server).await?;
        while answer.status() == 100 {
            answer = Head::read(&mut from_server).await?;
        }
        let body = answer.body(&mut from_server, asked.method != "HEAD").await?;
        if fault == Fault::LostReply {
            return Ok(());
        }
        if !spoil(answer, body, fault, &mut to_client).await? {
            return Ok(());
        }
    }
}

/// Sends an answer with its fault. Returns whether the connection stays usable.
async fn spoil(
    mut head: Head,
    mut body: Vec<u8>,
    fault: Fault,
    client: &mut (impl AsyncWrite + Unpin),
) -> io::Result<bool> {
    let whole = body.len();
    match fault {
        Fault::CutBody(at) | Fault::SilentBody(at) => body.truncate(at),
        Fault::ShortBody(at) if at < whole => {
            body.truncate(at);
            head.set("content-length", at);
        }
        Fault::FlippedBit(bit) if bit / 8 < whole => body[bit / 8] ^= 1 << (bit % 8),
        _ => {}
    }
    client.write_all(head.text.as_bytes()).await?;
    client.write_all(&body).await?;
    client.flush().await?;
    match fault {
        Fault::CutBody(_) => Ok(false),
        Fault::SilentBody(_) => std::future::pending().await,
        _ => Ok(true),
    }
}

fn error(status: u16, code: &str) -> Vec<u8> {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the test's proxy</Message></Error>");
    let length = body.len();
    format!("HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

/// The first line and the headers of a message as received, with the empty line.
struct Head {
    text: String,
}

impl Head {
    async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Self> {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            if from.read_line(&mut text).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { text })
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.text.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(ours, _)| ours.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn set(&mut self, name: &str, value: usize) {
        let is_it = |line: &&str| line.split_once(':').is_some_and(|(ours, _)| ours.eq_ignore_ascii_case(name));
        let lines = self.text.split("\r\n");
        let lines: Vec<String> =
            lines.map(|line| if is_it(&line) { format!("{name}: {value}") } else { line.to_owned() }).collect();
        self.text = lines.join("\r\n");
    }

    fn asked(&self) -> Asked {
        let mut words = self.text.split(' ').map(str::to_owned);
        Asked { method: words.next().unwrap_or_default(), path: words.next().unwrap_or_default() }
    }

    fn status(&self) -> u16 {
        self.text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// The body's bytes as received: chunks stay chunks.
    async fn body(&self, from: &mut (impl AsyncBufRead + Unpin), may_have_one: bool) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if !may_have_one || matches!(self.status(), 204 | 304) {
            return Ok(body);
        }
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let from_line = body.len();
                from.read_until(b'\n', &mut body).await?;
                let size = String::from_utf8_lossy(&body[from_line..]);
                let size = size.trim().split(';').next().unwrap_or_default();
                let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
                if size == 0 {
                    break;
                }
                let at = body.len();
                body.resize(at + size + 2, 0);
                from.read_exact(&mut body[at..]).await?;
            }
            // Trailers, then an empty line.
            while !body.ends_with(b"\n\r\n") {
                from.read_until(b'\n', &mut body).await?;
            }
        } else if let Some(length) = self.header("content-length") {
            body.resize(length.parse().map_err(io::Error::other)?, 0);
            from.read_exact(&mut body).await?;
        }
        Ok(body)
    }
}
