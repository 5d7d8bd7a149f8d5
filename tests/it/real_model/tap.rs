//! A tap on the line to a model server: passes everything on and keeps what was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The tap. Its threads end with the connections that they serve.
#[derive(Debug)]
pub(super) struct Tap {
    url: String,
    asked: Receiver<Vec<u8>>,
    seen: Vec<Vec<u8>>,
}

impl Tap {
    pub(super) fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, asked) = channel();
        let upstream = upstream.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, told) = (upstream.clone(), told.clone());
                // A side that leaves in the middle ends the connection, no more.
                std::thread::spawn(move || pass_on(&client, &upstream, &told));
            }
        });
        Self { url, asked, seen: Vec::new() }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until so many questions were asked since the last look.
    #[track_caller]
    pub(super) fn until(&mut self, count: usize, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.seen.len() < count {
            match self.asked.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(body) => self.seen.push(body),
                Err(RecvTimeoutError::Timeout) => panic!("{} of {count} questions came", self.seen.len()),
                Err(RecvTimeoutError::Disconnected) => unreachable!("the listener lives as long as the test"),
            }
        }
    }

    /// What was asked since the last look.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        self.seen.extend(self.asked.try_iter());
        std::mem::take(&mut self.seen)
    }
}

/// One request and its answer; the connection is closed after it, so that no second request comes on it.
fn pass_on(client: &TcpStream, upstream: &str, told: &Sender<Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    if head.starts_with("POST") && head.contains("/chat/completions") {
        let _ = told.send(body);
    }
    let mut part = [0; 4096];
    loop {
        let read = server.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        (&*client).write_all(&part[..read])?;
    }
}
