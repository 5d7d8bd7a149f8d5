//! A tap on the line to a model server: passes everything on and keeps what was asked. One that remembers answers a
//! question that was asked before itself, with the bytes that the server gave then.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// The tap. Its threads end with the connections that they serve.
#[derive(Debug)]
pub(super) struct Tap {
    url: String,
    asked: Receiver<Vec<u8>>,
    seen: Vec<Vec<u8>>,
}

/// Answers by question.
type Answers = Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>;

/// `None` for a tap that remembers nothing.
type Known = Option<Answers>;

static KNOWN: LazyLock<Answers> = LazyLock::new(Arc::default);

/// Held by whoever asks the model what others may have asked already.
pub(super) static TURN: Mutex<()> = Mutex::new(());

impl Tap {
    pub(super) fn start(upstream: &str) -> Self {
        Self::with(upstream, None)
    }

    /// One that remembers, with all of its kind in this process: the model gives the same answer to the same question,
    /// so tests share its work. They ask one after the other.
    pub(super) fn remembering(upstream: &str) -> Self {
        Self::with(upstream, Some(KNOWN.clone()))
    }

    /// Different questions that were answered.
    pub(super) fn known() -> usize {
        KNOWN.lock().unwrap().len()
    }

    fn with(upstream: &str, known: Known) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (told, asked) = channel();
        let upstream = upstream.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, told, known) = (upstream.clone(), told.clone(), known.clone());
                // A side that leaves in the middle ends the connection, no more.
                std::thread::spawn(move || pass_on(&client, &upstream, &told, &known));
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

    /// How many questions were asked since the last look.
    pub(super) fn sent(&mut self) -> usize {
        self.seen.extend(self.asked.try_iter());
        self.seen.len()
    }

    /// What was asked since the last look.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        self.seen.extend(self.asked.try_iter());
        std::mem::take(&mut self.seen)
    }
}

/// One request and its answer; the connection is closed after it, so that no second request comes on it.
fn pass_on(client: &TcpStream, upstream: &str, told: &Sender<Vec<u8>>, known: &Known) -> std::io::Result<()> {
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
    let is_question = head.starts_with("POST") && head.contains("/chat/completions");
    let remembered = known.as_ref().and_then(|known| known.lock().unwrap().get(&body).cloned());
    if let Some(answer) = remembered.filter(|_| is_question) {
        let _ = told.send(body);
        return (&*client).write_all(&answer);
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    if is_question {
        let _ = told.send(body.clone());
    }
    let (mut part, mut whole) = ([0; 4096], Vec::new());
    loop {
        let read = server.read(&mut part)?;
        if read == 0 {
            if let Some(known) = known.as_ref().filter(|_| is_question) {
                known.lock().unwrap().insert(body, whole);
            }
            return Ok(());
        }
        whole.extend_from_slice(&part[..read]);
        (&*client).write_all(&part[..read])?;
    }
}
