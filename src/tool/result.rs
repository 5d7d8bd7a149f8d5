//! From what a server answered to one value or one error. Servers report failure in three shapes; all become
//! [`ToolError::Reported`].

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};

use rmcp::model::{CallToolResult, ContentBlock, ErrorData, ResourceContents};
use serde_json::{Value, json};

use super::masking::{Mask, bounded};
use super::{REASON, SPILLED_FILE, ToolError, ToolResult};
use crate::domain::failure::MESSAGE_BYTES_MAX;

/// Largest result that is taken from a file.
const SPILLED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Beginnings of texts that servers send as ordinary results although they are errors; `{}` is the tool's name.
const ERROR_TEXTS: [&str; 5] =
    ["Unknown tool: {}", "Tool {} not found", "Error executing tool {}", "Error calling tool '{}'", "MCP error -32"];

/// An answer to a call.
pub(super) fn from_answer(
    tool: &str,
    answer: CallToolResult,
    spill_folder: Option<&Path>,
    mask: &Mask,
) -> Result<ToolResult, ToolError> {
    let reason = answer.meta.as_ref().and_then(|meta| meta.0.get(REASON)).and_then(Value::as_str);
    if answer.is_error == Some(true) {
        let text = texts(&answer.content);
        let message = match (text.is_empty(), &answer.structured_content) {
            (true, Some(structured)) => structured.to_string(),
            (true, None) => "the tool reported an error without a word".to_owned(),
            (false, _) => text,
        };
        return Err(reported(message, reason, mask));
    }
    if let Some(name) = answer.meta.as_ref().and_then(|meta| meta.0.get(SPILLED_FILE)).and_then(Value::as_str)
        && let Some(folder) = spill_folder
    {
        return spilled(folder, name)
            .map(|value| ToolResult { value })
            .map_err(|message| reported(message, None, mask));
    }
    let mut value = match answer.structured_content {
        Some(structured) => structured,
        None => {
            let text = texts(&answer.content);
            if is_error_text(tool, &text) {
                return Err(reported(text, reason, mask));
            }
            from_content(&answer.content, text)
        }
    };
    mask.value(&mut value);
    Ok(ToolResult { value })
}

/// A protocol error in answer to a call.
pub(super) fn from_protocol_error(error: &ErrorData, mask: &Mask) -> ToolError {
    let data = error.data.as_ref();
    let reason = data.and_then(|data| data.get(REASON)).and_then(Value::as_str);
    let details = data.filter(|_| reason.is_none()).map(|data| format!(" {data}")).unwrap_or_default();
    reported(format!("{}{details} (code {})", error.message, error.code.0), reason, mask)
}

pub(super) fn reported(message: String, reason: Option<&str>, mask: &Mask) -> ToolError {
    // Masked first: a cut through a secret would leave half of it.
    let message = bounded(mask.text(message).trim(), MESSAGE_BYTES_MAX - 100).into_owned();
    ToolError::Reported { message, reason: reason.map(|text| bounded(text, 64).into_owned()) }
}

fn text(block: &ContentBlock) -> Option<&str> {
    match block {
        ContentBlock::Text(text) => Some(&text.text),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn texts(content: &[ContentBlock]) -> String {
    content.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}

/// Text as it is, or the value in it where it is an object or a list. Other blocks stand beside it as they came.
fn from_content(content: &[ContentBlock], text_all: String) -> Value {
    let other: Vec<Value> = content
        .iter()
        .filter(|block| text(block).is_none())
        .filter_map(|block| serde_json::to_value(block).ok())
        .collect();
    if !other.is_empty() {
        return json!({ "text": text_all, "content": other });
    }
    let is_structure = text_all.trim_start().starts_with(['{', '[']);
    let parsed = is_structure.then(|| serde_json::from_str(&text_all).ok()).flatten();
    parsed.unwrap_or(Value::String(text_all))
}

/// The third shape: an ordinary result whose text says that the call failed. Only texts that name this very tool, or
/// are the protocol's own words, count: a tool that reads logs may well return the word "error".
fn is_error_text(tool: &str, text: &str) -> bool {
    text.len() <= MESSAGE_BYTES_MAX && ERROR_TEXTS.iter().any(|form| text.starts_with(&form.replace("{}", tool)))
}

/// Reads the result that one of our own servers left in its folder, and removes it.
fn spilled(folder: &Path, name: &str) -> Result<Value, String> {
    let mut parts = Path::new(name).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(one)), None) if one == name);
    if !is_plain {
        return Err(format!("the server named a result file outside its folder: `{}`", bounded(name, 200)));
    }
    let path = folder.join(name);
    let cannot = |error: std::io::Error| format!("cannot read the result file `{name}`: {error}");
    // No link is followed, and a pipe in its place must not block.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(&path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("the result file `{name}` is not a file"));
    }
    if metadata.len() > SPILLED_BYTES_MAX {
        let _ = fs::remove_file(&path);
        return Err(format!("the result has {} bytes, over the limit of {SPILLED_BYTES_MAX}", metadata.len()));
    }
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(SPILLED_BYTES_MAX).read_to_end(&mut text).map_err(cannot)?;
    // What cannot be removed now goes with the folder.
    let _ = fs::remove_file(&path);
    serde_json::from_slice(&text).map_err(|error| format!("the result file `{name}` is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: Value) -> Result<Value, ToolError> {
        let answer = serde_json::from_value(value).unwrap();
        from_answer("t", answer, None, &Mask::default()).map(|result| result.value)
    }

    fn text_answer(text: &str) -> Result<Value, ToolError> {
        answer(json!({ "content": [{ "type": "text", "text": text }] }))
    }

    #[test]
    fn the_structured_result_wins_over_text() {
        let got = answer(json!({ "content": [{ "type": "text", "text": "no" }], "structuredContent": { "a": 1 } }));
        assert_eq!(got, Ok(json!({ "a": 1 })));
    }

    #[test]
    fn text_is_parsed_only_where_it_is_an_object_or_a_list() {
        assert_eq!(text_answer("{\"a\": [1]}"), Ok(json!({ "a": [1] })));
        assert_eq!(text_answer("[1, 2]"), Ok(json!([1, 2])));
        assert_eq!(text_answer("{'a': 1}"), Ok(json!("{'a': 1}")), "a Python repr stays text");
        assert_eq!(text_answer("12"), Ok(json!("12")), "a number stays text, or 007 would lose its zeros");
        assert_eq!(answer(json!({ "content": [] })), Ok(json!("")));
    }

    #[test]
    fn several_texts_are_joined_and_other_blocks_kept() {
        let image = json!({ "type": "image", "data": "AA==", "mimeType": "image/png" });
        let got =
            answer(json!({ "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }, image] }));
        assert_eq!(got, Ok(json!({ "text": "a\nb", "content": [image] })));
    }

    #[test]
    fn all_three_shapes_of_failure_are_reports() {
        let is_error = answer(json!({ "isError": true, "content": [{ "type": "text", "text": "no table" }],
                                      "_meta": { REASON: "unworkable" } }));
        assert_eq!(
            is_error,
            Err(ToolError::Reported { message: "no table".into(), reason: Some("unworkable".into()) })
        );
        assert!(matches!(text_answer("Unknown tool: t"), Err(ToolError::Reported { reason: None, .. })));
        assert!(text_answer("Unknown tool: other, said the log").is_ok());
        let data = ErrorData::invalid_params("bad", Some(json!({ REASON: "bad_input" })));
        let protocol = from_protocol_error(&data, &Mask::default());
        assert_eq!(
            protocol,
            ToolError::Reported { message: "bad (code -32602)".into(), reason: Some("bad_input".into()) }
        );
    }

    #[test]
    fn a_long_report_is_bounded() {
        let text = "x".repeat(100_000);
        let got = answer(json!({ "isError": true, "content": [{ "type": "text", "text": text }] }));
        let Err(ToolError::Reported { message, .. }) = got else { panic!("{got:?}") };
        assert!(message.len() <= MESSAGE_BYTES_MAX, "{}", message.len());
    }

    #[test]
    fn a_spilled_result_is_read_once_and_only_from_its_folder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("spill");
        fs::create_dir(&folder).unwrap();
        fs::write(outer.path().join("outside.json"), "[1]").unwrap();
        fs::write(folder.join("good.json"), "[2]").unwrap();
        std::os::unix::fs::symlink(outer.path().join("outside.json"), folder.join("link.json")).unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        assert_eq!(spilled(&folder, "good.json"), Ok(json!([2])));
        assert!(!folder.join("good.json").exists());
        let absolute = outer.path().join("outside.json").display().to_string();
        for name in ["../outside.json", "link.json", "sub", ".", "..", "", "sub/../good.json", "./x", &absolute] {
            assert!(spilled(&folder, name).is_err(), "{name}");
        }
        assert!(outer.path().join("outside.json").exists());
    }
}
