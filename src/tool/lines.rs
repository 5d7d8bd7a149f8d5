//! Between a server's standard output and the protocol: lines of bounded length.
//!
//! The protocol library throws an answer over its limit away without a word, and the call that waits for it hangs
//! until its timeout. Here such a line is replaced by an error answer to the same request, so the call ends at once.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::REASON;

/// Longest line that is taken from a server.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much of the beginning and of the end of a too long line is kept, to find its request id.
const EDGE_BYTES_MAX: usize = 512;

const BUFFER_BYTES: usize = 64 * 1024;

/// Copies lines until either side ends.
pub(super) async fn pump(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, line_bytes_max: usize) {
    let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
    let mut line = Vec::new();
    loop {
        let text = match next_line(&mut from, &mut line, line_bytes_max).await {
            Ok(Line::Whole) => &line,
            Ok(Line::TooLong { bytes }) => {
                tracing::warn!(bytes, "a tool server sent a line over the limit");
                let Some(id) = request_id(&line) else { continue };
                line = refusal(&id, bytes, line_bytes_max);
                &line
            }
            Ok(Line::End) | Err(_) => break,
        };
        if to.write_all(text).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    // The reader learns of the end by the closed pipe; an error here means that it is gone already.
    let _ = to.shutdown().await;
}

enum Line {
    /// In the buffer, with its line end.
    Whole,
    /// Over the limit; the buffer holds its beginning and its end.
    TooLong {
        bytes: usize,
    },
    End,
}

async fn next_line(from: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>, max: usize) -> std::io::Result<Line> {
    line.clear();
    let mut bytes = 0;
    let mut tail: Vec<u8> = Vec::new();
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return Ok(Line::End);
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(available.len(), |at| at + 1);
        bytes += taken;
        if bytes <= max {
            line.extend_from_slice(&available[..taken]);
        } else {
            if tail.is_empty() {
                tail.extend_from_slice(&line[line.len().saturating_sub(EDGE_BYTES_MAX)..]);
                line.truncate(EDGE_BYTES_MAX);
                line.shrink_to_fit();
            }
            tail.extend_from_slice(&available[taken.saturating_sub(EDGE_BYTES_MAX)..taken]);
            tail.drain(..tail.len().saturating_sub(EDGE_BYTES_MAX));
        }
        from.consume(taken);
        if end.is_some() {
            if bytes <= max {
                return Ok(Line::Whole);
            }
            line.push(b'\n');
            line.extend_from_slice(&tail);
            return Ok(Line::TooLong { bytes });
        }
    }
}

/// The id of an answer, from the edges of its line: servers write it first or last.
fn request_id(edges: &[u8]) -> Option<String> {
    let edges = String::from_utf8_lossy(edges).into_owned();
    let (head, tail) = edges.split_once('\n')?;
    let before_result = head.split("\"result\"").next().filter(|start| start.len() < head.len());
    let from_head = before_result.and_then(|start| id_after(start.split_once("\"id\"")?.1)).map(|(id, _)| id);
    from_head.or_else(|| {
        let (id, rest) = id_after(tail.rsplit_once("\"id\"")?.1)?;
        let rest: String = rest.chars().filter(|letter| !letter.is_whitespace()).collect();
        (rest == "}" || rest == "},\"jsonrpc\":\"2.0\"}" || rest == ",\"jsonrpc\":\"2.0\"}").then_some(id)
    })
}

/// Reads `: 12` or `: "12"`; returns the id as JSON text and what follows.
fn id_after(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start().strip_prefix(':')?.trim_start();
    let is_text = text.starts_with('"');
    let end = match is_text {
        true => text[1..].find('"')? + 2,
        false => text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()),
    };
    let is_plain = end > 0 && !text[..end].contains('\\');
    is_plain.then(|| (text[..end].to_owned(), &text[end..]))
}

fn refusal(id: &str, bytes: usize, max: usize) -> Vec<u8> {
    let message = format!("the result has {bytes} bytes, over the limit of {max} for one answer");
    let error = serde_json::json!({ "code": -32000, "message": message, "data": { REASON: "too_large" } });
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pumped(input: &str, max: usize) -> String {
        let mut out = Vec::new();
        pump(input.as_bytes(), &mut out, max).await;
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn lines_within_the_limit_pass_unchanged_and_an_unfinished_one_does_not() {
        assert_eq!(pumped("a\nbb\n\nrest", 100).await, "a\nbb\n\n");
    }

    #[tokio::test]
    async fn a_too_long_answer_becomes_an_error_answer_with_the_same_id() {
        let long = "x".repeat(300_000);
        let first = format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{{\"a\":\"{long}\"}}}}\n");
        let last = format!("{{\"result\":{{\"id\":3,\"a\":\"{long}\"}},\"jsonrpc\":\"2.0\",\"id\":\"8\"}}\n");
        let short = "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n";
        let out = pumped(&format!("{first}{last}{short}"), 100_000).await;
        let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(
            lines.iter().map(|line| line["id"].clone()).collect::<Vec<_>>(),
            [serde_json::json!(7), serde_json::json!("8"), serde_json::json!(9)]
        );
        assert_eq!(lines[0]["error"]["data"][REASON], "too_large");
        assert!(lines[2].get("result").is_some());
    }

    #[tokio::test]
    async fn a_too_long_line_without_id_is_dropped() {
        assert_eq!(pumped(&format!("{}\nok\n", "y".repeat(1000)), 10).await, "ok\n");
    }
}
