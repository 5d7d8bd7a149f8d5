//! The server of the real model, as a process that ends with the test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::crash::place::root;

/// llama.cpp with the weak model: one request at a time and no cache, so that the same question gets the same answer.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    address: String,
}

impl Server {
    pub(super) fn start() -> Self {
        let kit = crate::tool::test_tools().join("real_model");
        let mut child = Command::new(kit.join("venv/bin/python"))
            .arg(root().join("tests/real_model/serve.py"))
            .arg("--model")
            .arg(kit.join("model.gguf"))
            .args(["--threads", "1", "--parallel", "1", "--no-cache", "--ctx", "8192"])
            .args(["--until-stdin-closes", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening http://").map(str::to_owned);
        let Some(address) = address else { panic!("the real model does not start: {line:?}, {:?}", child.wait()) };
        Self { child, address }
    }

    /// HOST:PORT.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
