//! Replies from strangers: no panic, only tools on offer, arguments that are objects; and time that grows with length.

use std::time::{Duration, Instant};

use bolero::check;
use ollmcp::agent::calls::{Offered, Read, read, without_reasoning};
use ollmcp::model::{NativeCall, Reply, Stop};
use serde_json::{Value, json};

/// Pieces that make faults likely where they meet.
const PIECES: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "<function=read_file>",
    "</function>",
    "<parameter=path>",
    "</parameter>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|python_tag|>",
    "functools[",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "<｜tool▁call▁end｜>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<|channel|>",
    "<|message|>",
    "<|call|>",
    "to=functions.read_file ",
    "analysis",
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<|channel>",
    "<channel|>",
    "<|tool_call>call:",
    "<tool_call|>",
    "<|\"|>",
    "<escape>",
    "```",
    "```json\n",
    "```tool_code\n",
    "```python\n",
    "Action: ",
    "Action Input: ",
    "Observation: ",
    "<read_file>",
    "</read_file>",
    "<tool_name>",
    "</tool_name>",
    "<arguments>",
    "</arguments>",
    "<invoke name=\"read_file\">",
    "</invoke>",
    "{\"name\": \"read_file\", \"arguments\": {\"path\": \"x\"}}",
    "read_file",
    "fs.list",
    "(path=\"x\")",
    "print(",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "'",
    "\"\"\"",
    ",",
    ":",
    "=",
    "\\",
    "\\u12",
    "\\ud83d",
    "\n",
    "\n\n",
    " ",
    "- ",
    "> ",
    "`",
    "\"name\"",
    "\"arguments\"",
    "name",
    "arguments",
    "path",
    "count",
    "true",
    "None",
    "1",
    "-",
    ".5",
    "1e9",
    "é",
    "日",
    "＜",
    "\u{feff}",
    "\u{0}",
    "◁think▷",
    "#",
    "//",
    "/*",
    "I will call ",
    "example",
    "?",
    "+",
    " or ",
];

fn offered() -> Vec<Offered> {
    vec![
        Offered {
            name: "read_file".to_owned(),
            parameters: json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}),
        },
        Offered {
            name: "fs.list".to_owned(),
            parameters: json!({"type": "object", "properties": {
                "root": {"type": "string"}, "count": {"type": "integer"}, "ends": {"type": "array", "items": {"type": "string"}},
                "kind": {"enum": ["File", "folder"]}, "deep": {"type": ["boolean", "null"]},
            }}),
        },
        Offered { name: "any".to_owned(), parameters: json!({}) },
    ]
}

fn reply(text: String) -> Reply {
    Reply { text, ..Reply::default() }
}

fn holds(reply: &Reply, offered: &[Offered]) {
    match read(reply, offered) {
        Read::Calls { calls, .. } => {
            assert!(!calls.is_empty() && reply.stop == Stop::End);
            for call in calls {
                let tool = offered.iter().find(|tool| tool.name == call.name).expect("only what is on offer is called");
                for name in tool.parameters["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    assert!(call.arguments.contains_key(name), "`{name}` is required");
                }
            }
        }
        Read::Text(text) => assert!(!text.trim().is_empty(), "a text without words is no answer"),
        Read::Failed(unread) => assert!(!unread.complaint.is_empty()),
    }
    let _ = without_reasoning(&reply.text);
}

#[test]
fn any_bytes_are_read_or_refused() {
    let offered = offered();
    check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        holds(&reply(text.clone()), &offered);
        holds(&reply(text), &[]);
    });
}

#[test]
fn any_row_of_pieces_is_read_or_refused() {
    let offered = offered();
    check!().with_type::<(Vec<u8>, bool)>().for_each(|(picks, is_cut)| {
        let text: String = picks.iter().map(|pick| PIECES[usize::from(*pick) % PIECES.len()]).collect();
        let mut one = reply(text);
        if *is_cut {
            one.stop = Stop::Length;
        }
        holds(&one, &offered);
    });
}

#[test]
fn any_native_call_is_read_or_refused() {
    let offered = offered();
    check!().with_type::<(String, String, u8)>().for_each(|(name, text, pick)| {
        let arguments = match pick % 4 {
            0 => Value::String(text.clone()),
            1 => json!({ "path": text }),
            2 => json!([text]),
            _ => Value::Null,
        };
        let name = if pick & 16 == 0 { "Read_File".to_owned() } else { name.clone() };
        let mut one = reply(text.clone());
        one.calls = vec![NativeCall { id: None, name, arguments }];
        holds(&one, &offered);
    });
}

#[test]
fn a_long_row_of_one_piece_takes_no_square_of_time() {
    let offered = offered();
    for piece in PIECES {
        let text = piece.repeat(200_000 / piece.len());
        let start = Instant::now();
        holds(&reply(text), &offered);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "`{piece}` took {took:?}");
    }
}
