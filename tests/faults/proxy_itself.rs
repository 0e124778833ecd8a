//! Tests of the proxy on which the other tests rely.

use std::{
    io::{Read, Write},
    net,
    time::{Duration, Instant},
};

use crate::{
    client::{address, ask, request},
    proxy::{Fault, Mode, Proxy},
};

#[test]
fn the_proxy_passes_on_falls_silent_refuses_slows_down_and_cuts() {
    let server = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(server.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in server.incoming() {
            let mut socket = socket.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0];
                // A connection that is cut while bytes are on their way ends with an error.
                while socket.read(&mut byte).is_ok_and(|read| read == 1) && socket.write_all(&byte).is_ok() {}
            });
        }
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

    proxy.set(Mode::Refuse);
    assert!(net::TcpStream::connect(address(proxy.port)).is_err());
    proxy.set(Mode::Silent);
    assert!(net::TcpStream::connect(address(proxy.port)).is_ok());

    proxy.set(Mode::Slow(Duration::from_millis(100)));
    let mut client = net::TcpStream::connect(address(proxy.port)).unwrap();
    let started = Instant::now();
    client.write_all(b"c").unwrap();
    client.read_exact(&mut byte).unwrap();
    assert!(byte == *b"c" && started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());

    proxy.set(Mode::Cut(2));
    let mut client = net::TcpStream::connect(address(proxy.port)).unwrap();
    client.write_all(b"def").unwrap();
    let mut came = Vec::new();
    let _ = client.read_to_end(&mut came);
    assert_eq!(came, b"de");
}

#[test]
fn the_proxy_spoils_answers_as_it_is_told_and_the_server_hears_of_all_but_errors() {
    let server = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::of_http(server.local_addr().unwrap().port());
    let (heard, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for socket in server.incoming() {
            let mut socket = socket.unwrap();
            let mut head = [0; 1024];
            while let Ok(read @ 1..) = socket.read(&mut head) {
                heard.send(String::from_utf8_lossy(&head[..read]).into_owned()).unwrap();
                let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n";
                let plain = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";
                let is_chunked = head.starts_with(b"GET /chunked");
                socket.write_all(if is_chunked { chunked } else { plain }.as_bytes()).unwrap();
            }
        }
    });
    let get = |path| ask(proxy.port, &request("GET", path, "", ""));
    assert_eq!(get("/").unwrap().body, "abcd");
    proxy.on(|asked| if asked.path == "/flip" { Fault::FlippedBit(8) } else { Fault::ShortBody(3) });
    assert_eq!(get("/flip").unwrap().body, "accd");
    let short = get("/").unwrap();
    assert_eq!((short.body.as_str(), short.header("content-length")), ("abc", Some("3")));
    proxy.on(|_| Fault::CutBody(1));
    assert!(get("/").is_err());
    proxy.on(|_| Fault::LostReply);
    assert!(get("/").is_err());
    assert_eq!(hears.try_iter().count(), 5);
    proxy.on(|_| Fault::Error(503, "SlowDown"));
    let refused = get("/").unwrap();
    assert!(refused.status == 503 && refused.body.contains("<Code>SlowDown</Code>"), "{refused:?}");
    assert_eq!(hears.try_iter().count(), 0, "the request does not reach the server");

    proxy.on(|_| Fault::None);
    let mut socket = net::TcpStream::connect(address(proxy.port)).unwrap();
    socket.write_all(&request("GET", "/chunked", "", "")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut came = vec![0; 66];
    socket.read_exact(&mut came).unwrap();
    assert!(came.ends_with(b"cd\r\n0\r\n\r\n"), "{}", String::from_utf8_lossy(&came));
}
