//! Families of forms, as tables: the same two calls in everybody's way to write them, what is repaired, and what must
//! never run.

use serde_json::{Value, json};

use super::*;

pub(super) fn tool(name: &str, properties: Value, required: &[&str]) -> Offered {
    Offered {
        name: name.to_owned(),
        parameters: json!({"type": "object", "properties": properties, "required": required}),
    }
}

pub(super) fn offered() -> Vec<Offered> {
    let text = json!({"type": "string"});
    vec![
        tool("read_file", json!({"path": text}), &["path"]),
        tool(
            "fs.list",
            json!({"root": text, "pattern": text, "count": {"type": "integer"}, "deep": {"type": "boolean"},
            "ends": {"type": "array", "items": text}}),
            &["root"],
        ),
        tool("write_file", json!({"path": text, "content": text, "append": {"type": "boolean"}}), &["path", "content"]),
        tool("shell_exec", json!({"command": text, "timeout_s": {"type": "integer"}}), &["command"]),
        tool(
            "db_insert",
            json!({"table": text, "rows": {"type": "array", "items": {"type": "object"}}}),
            &["table", "rows"],
        ),
        tool(
            "get_weather",
            json!({"city": text, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}),
            &["city"],
        ),
        tool("get_status", json!({}), &[]),
        tool("set_level", json!({"level": {"type": "number"}, "note": {"type": ["string", "null"]}}), &["level"]),
    ]
}

pub(super) fn reply(text: &str) -> Reply {
    Reply { text: text.to_owned(), ..Reply::default() }
}

/// The result in a form that a table can hold: `name{arguments}` a call, else the kind, else `text`.
pub(super) fn shown(read: &Read) -> String {
    match read {
        Read::Calls { calls, .. } => {
            let all: Vec<String> =
                calls.iter().map(|call| format!("{}{}", call.name, Value::Object(call.arguments.clone()))).collect();
            all.join(" ")
        }
        Read::Text(_) => "text".to_owned(),
        Read::Failed(unread) => format!("{:?}", unread.kind),
    }
}

#[track_caller]
pub(super) fn check(cases: &[(&str, &str)]) {
    let offered = offered();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, expect)| {
            let found = read(&reply(text), &offered);
            let shown = shown(&found);
            (shown != *expect).then(|| format!("--- {text}\n  expected {expect}\n  found    {shown}\n  {found:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// One call, in everybody's way to write it.
pub(super) const ONE: &str = r#"read_file{"path":"a.txt"}"#;
/// Two calls.
pub(super) const TWO: &str = r#"read_file{"path":"a.txt"} get_weather{"city":"Oslo"}"#;

#[test]
fn one_call_is_read_in_every_form() {
    let forms = [
        // JSON as it is
        r#"{"name": "read_file", "arguments": {"path": "a.txt"}}"#,
        r#"{"name": "read_file", "parameters": {"path": "a.txt"}}"#,
        r#"{"arguments": {"path": "a.txt"}, "name": "read_file"}"#,
        r#"{"tool": "read_file", "args": {"path": "a.txt"}}"#,
        r#"{"tool_name": "read_file", "tool_input": {"path": "a.txt"}}"#,
        r#"{"toolName": "read_file", "toolInput": {"path": "a.txt"}}"#,
        r#"{"function": "read_file", "parameters": {"path": "a.txt"}}"#,
        r#"{"function_name": "read_file", "function_args": {"path": "a.txt"}}"#,
        r#"{"action": "read_file", "action_input": {"path": "a.txt"}}"#,
        r#"{"action": "read_file", "action_input": "a.txt"}"#,
        r#"{"name": "read_file", "input": {"path": "a.txt"}}"#,
        r#"{"name": "read_file", "params": {"path": "a.txt"}}"#,
        r#"{"tool": "read_file", "path": "a.txt"}"#,
        r#"{"name": "read_file", "arguments": "{\"path\": \"a.txt\"}"}"#,
        r#"{"name": "read_file", "arguments": "{'path': 'a.txt'}"}"#,
        r#"{"type": "function", "function": {"name": "read_file", "arguments": "{\"path\": \"a.txt\"}"}}"#,
        r#"{"type": "function", "name": "read_file", "parameters": {"path": "a.txt"}}"#,
        r#"{"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": {"path": "a.txt"}}}"#,
        r#"{"tool_calls": [{"name": "read_file", "arguments": {"path": "a.txt"}}]}"#,
        r#"{"role": "assistant", "content": null, "tool_calls": [{"id": "x", "type": "function", "function": {"name": "read_file", "arguments": "{\"path\": \"a.txt\"}"}}]}"#,
        r#"{"function_call": {"name": "read_file", "arguments": {"path": "a.txt"}}}"#,
        r#"{"tool_call": {"name": "read_file", "arguments": {"path": "a.txt"}}}"#,
        r#"{"tool_request": {"tool": "read_file", "args": {"path": "a.txt"}}, "thoughts": "I look"}"#,
        r#"{"thoughts": ["I look"], "tool_name": "read_file", "tool_args": {"path": "a.txt"}}"#,
        r#"{"thought": "I look", "action": {"name": "read_file", "args": {"path": "a.txt"}}}"#,
        r#"{"tool_uses": [{"recipient_name": "functions.read_file", "parameters": {"path": "a.txt"}}]}"#,
        r#"{"read_file": {"path": "a.txt"}}"#,
        r#"[{"read_file": {"path": "a.txt"}}]"#,
        r#"[{"name": "read_file", "arguments": {"path": "a.txt"}}]"#,
        r#"["read_file", {"path": "a.txt"}]"#,
        r#"[("read_file", {"path": "a.txt"})]"#,
        r#"["read_file(path='a.txt')"]"#,
        // around it
        "Sure, I will look.\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "Sure: {\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n\nThis reads the file.",
        "```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n```",
        "```\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n```",
        "```json\n[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]\n```",
        "```JSON\r\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\r\n```",
        "Here is the tool call:\n\n```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n```\n\nI wait for the result.",
        "```json{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}```",
        "```tool_request\n{\"thoughts\": \"x\", \"tool\": \"read_file\", \"args\": {\"path\": \"a.txt\"}}\n```",
        "```tool_call\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n```",
        "```xml\n<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call>\n```",
        "~~~json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n~~~",
        "`{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}`",
        "- {\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "<think>\nhm {\"name\": \"shell_exec\"}\n</think>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        // Hermes and Qwen
        "<tool_call>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n</tool_call>",
        "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "<tool_call>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n<tool_call>",
        "<tool_call>{{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}}</tool_call>",
        "<tool_call>\n```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n```\n</tool_call>",
        "<TOOL_CALL>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</TOOL_CALL>",
        "<tool_calls>[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]</tool_calls>",
        "<tool_calls><tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call></tool_calls>",
        "<toolcall>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</toolcall>",
        "<tools>\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n</tools>",
        "<function_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</function_call>",
        "<functioncall> {\"name\": \"read_file\", \"arguments\": '{\"path\": \"a.txt\"}'}",
        "<function>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</function>",
        "<function_calls>[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]</function_calls>",
        "<|tool_call|>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "<|tool_call|>[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]",
        "<|tool_calls|>[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]<|/tool_calls|>",
        "<TOOLCALL>[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]</TOOLCALL>",
        "<longcat_tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</longcat_tool_call>",
        "<tool_call>read_file(path=\"a.txt\")</tool_call>",
        "<tool_call>[read_file(path=\"a.txt\")]</tool_call>",
        "I look. <tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call> Then I answer.",
        // Qwen coder, Seed, MiniMax, Anthropic-like
        "<function=read_file><parameter=path>a.txt</parameter></function>",
        "<tool_call>\n<function=read_file>\n<parameter=path>\na.txt\n</parameter>\n</function>\n</tool_call>",
        "<seed:tool_call>\n<function=read_file>\n<parameter=path>a.txt</parameter>\n</function>\n</seed:tool_call>",
        "<minimax:tool_call>\n<invoke name=\"read_file\">\n<parameter name=\"path\">a.txt</parameter>\n</invoke>\n</minimax:tool_call>",
        "<function_calls>\n<invoke name=\"read_file\">\n<parameter name=\"path\">a.txt</parameter>\n</invoke>\n</function_calls>",
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"read_file\">\n<｜DSML｜parameter name=\"path\" string=\"true\">a.txt</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "<function=read_file>{\"path\": \"a.txt\"}</function>",
        "<function name=\"read_file\">{\"path\": \"a.txt\"}</function>",
        "<function=read_file>{\"path\": \"a.txt\"}",
        "<tool_call>\n<function=read_file>\n<parameter=path>\na.txt\n</parameter>\n</tool_call>",
        "<tool_call>\n<function=read_file>\n<parameter=path>\na.txt\n</function>\n</tool_call>",
        // Mistral
        "[TOOL_CALLS][{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]",
        "[TOOL_CALLS] [{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}, \"id\": \"AbC123xyz\"}]</s>",
        "[TOOL_CALLS]read_file[ARGS]{\"path\": \"a.txt\"}",
        "[TOOL_CALLS]read_file[CALL_ID]abc123[ARGS]{\"path\": \"a.txt\"}",
        "[TOOL_CALLS]read_file{\"path\": \"a.txt\"}",
        "[TOOL_CALL]\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n[/TOOL_CALL]",
        "[TOOL_REQUEST]{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}[END_TOOL_REQUEST]",
        // Llama
        "<|python_tag|>{\"name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}",
        "<|python_tag|>{\"type\": \"function\", \"name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}<|eom_id|>",
        "<|python_tag|>read_file(path=\"a.txt\")",
        "<|python_tag|>read_file.call(path=\"a.txt\")",
        "<|python_start|>[read_file(path=\"a.txt\")]<|python_end|>",
        "{\"name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}<|eot_id|>",
        "[read_file(path=\"a.txt\")]",
        // Phi, xLAM, Firefunction
        "functools[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]",
        "functools [{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]",
        // DeepSeek
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>read_file\n```json\n{\"path\": \"a.txt\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>read_file<｜tool▁sep｜>{\"path\": \"a.txt\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
        "<｜tool▁call▁begin｜>read_file<｜tool▁sep｜>{\"path\": \"a.txt\"}<｜tool▁call▁end｜>",
        // Kimi
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.read_file:0<|tool_call_argument_begin|>{\"path\": \"a.txt\"}<|tool_call_end|><|tool_calls_section_end|>",
        // GLM
        "<tool_call>read_file\n<arg_key>path</arg_key>\n<arg_value>a.txt</arg_value>\n</tool_call>",
        "<tool_call>read_file<arg_key>path</arg_key><arg_value>a.txt</arg_value></tool_call>",
        "read_file\n{\"path\": \"a.txt\"}",
        "<tool_call>read_file\n{\"path\": \"a.txt\"}</tool_call>",
        // Granite, Command-R, InternLM, LFM2, OLMo, functionary
        "<|tool_call|>[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}]<|end_of_text|>",
        "<|START_ACTION|>[{\"tool_call_id\": \"0\", \"tool_name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}]<|END_ACTION|>",
        "<|START_THINKING|>I look.<|END_THINKING|><|START_ACTION|>[\n  {\"tool_call_id\": \"0\", \"tool_name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}\n]<|END_ACTION|>",
        "Action: ```json\n[\n    {\n        \"tool_name\": \"read_file\",\n        \"parameters\": {\"path\": \"a.txt\"}\n    }\n]```",
        "<|action_start|><|plugin|>{\"name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}<|action_end|>",
        "<|tool_call_start|>[read_file(path=\"a.txt\")]<|tool_call_end|>",
        "<function_calls>read_file(path=\"a.txt\")</function_calls>",
        ">>>read_file\n{\"path\": \"a.txt\"}",
        "✿FUNCTION✿: read_file\n✿ARGS✿: {\"path\": \"a.txt\"}\n✿RESULT✿",
        // harmony
        "<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{\"path\": \"a.txt\"}<|call|>",
        "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{\"path\": \"a.txt\"}<|call|>",
        "<|start|>assistant to=functions.read_file<|channel|>commentary json<|message|>{\"path\": \"a.txt\"}<|call|>",
        "<|channel|>commentary to=functions.read_file<|message|>{\"path\": \"a.txt\"}",
        // Gemma
        "```tool_code\nread_file(path=\"a.txt\")\n```",
        "```tool_code\nprint(read_file(path=\"a.txt\"))\n```",
        "```tool_code\nprint(default_api.read_file(path='a.txt'))\n```",
        "```tool_code\nresult = read_file(path='a.txt')\nprint(result)\n```",
        "<tool_code>\nread_file(path=\"a.txt\")\n</tool_code>",
        "<|tool_call>call:read_file{path:<|\"|>a.txt<|\"|>}<tool_call|>",
        "<start_function_call>call:read_file{path:<escape>a.txt<escape>}<end_function_call>",
        "<start_function_call>call:read_file{path:a.txt}<end_function_call>",
        // elements
        "<read_file>{\"path\": \"a.txt\"}</read_file>",
        "<read_file>\n<path>a.txt</path>\n</read_file>",
        "<read_file path=\"a.txt\"/>",
        "<read_file>a.txt</read_file>",
        "<read_file><arguments>{\"path\": \"a.txt\"}</arguments></read_file>",
        "<tool_name>read_file</tool_name>\n<arguments>{\"path\": \"a.txt\"}</arguments>",
        "<tool_name>read_file</tool_name><parameters><path>a.txt</path></parameters>",
        "<tool_call><tool_name>read_file</tool_name><arguments>{\"path\": \"a.txt\"}</arguments></tool_call>",
        "<tool_call><name>read_file</name><arguments>{\"path\": \"a.txt\"}</arguments></tool_call>",
        "<tool_use>\n<name>read_file</name>\n<arguments>{\"path\": \"a.txt\"}</arguments>\n</tool_use>",
        "<use_mcp_tool>\n<server_name>files</server_name>\n<tool_name>read_file</tool_name>\n<arguments>\n{\"path\": \"a.txt\"}\n</arguments>\n</use_mcp_tool>",
        "<tool name=\"read_file\"><param name=\"path\">a.txt</param></tool>",
        "<tool>read_file</tool><args>{\"path\": \"a.txt\"}</args>",
        "<invoke name=\"read_file\"><parameter name=\"path\">a.txt</parameter></invoke>",
        // ReAct
        "Thought: I look.\nAction: read_file\nAction Input: {\"path\": \"a.txt\"}",
        "Thought: I look.\nAction: read_file\nAction Input: a.txt\nObservation: it says hello\nThought: done\nFinal Answer: hello",
        "**Action:** read_file\n**Action Input:** {\"path\": \"a.txt\"}",
        "Action: `read_file`\nAction Input: \"a.txt\"",
        "Action:\n```json\n{\"action\": \"read_file\", \"action_input\": {\"path\": \"a.txt\"}}\n```",
        "Action:\n```\n{\n  \"action\": \"read_file\",\n  \"action_input\": \"a.txt\"\n}\n```\nObservation: x",
        "Action: read_file(path=\"a.txt\")",
        "Action: read_file[a.txt]",
        // lines of code
        "read_file(path=\"a.txt\")",
        "read_file(path='a.txt')",
        "read_file(\"a.txt\")",
        "read_file({\"path\": \"a.txt\"})",
        "functions.read_file(path=\"a.txt\")",
        "functions.read_file({\"path\": \"a.txt\"})",
        "functions.read_file({path: \"a.txt\"})",
        "`read_file(path=\"a.txt\")`",
        "```python\nread_file(path=\"a.txt\")\n```",
        "```python\n# look first\nprint(read_file(path=\"a.txt\"))\n```",
        "```python\ncontent = read_file(path=\"a.txt\")\nprint(content)\n```",
        "```javascript\nawait read_file({path: \"a.txt\"});\n```",
        "Let me call it: read_file(path=\"a.txt\")",
        "I start with this:\n\nread_file(path=\"a.txt\")\n\nand then go on.",
        "[read_file(path=\"a.txt\")",
        // escaped as a whole, or by Markdown
        "read\\_file(path=\"a.txt\")",
        "[{\"name\": \"read\\_file\", \"arguments\": {\"path\": \"a.txt\"}}]",
        "{\\\"name\\\": \\\"read_file\\\", \\\"arguments\\\": {\\\"path\\\": \\\"a.txt\\\"}}",
        "{&quot;name&quot;: &quot;read_file&quot;, &quot;arguments&quot;: {&quot;path&quot;: &quot;a.txt&quot;}}",
        "\u{feff}{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        // rarer ones
        "[read_file, {\"path\": \"a.txt\"}]",
        "<<function>>read_file(path=\"a.txt\")",
        "Call: read_file(path=\"a.txt\")<bot_end>\nThought: it reads.",
        "<|from|>assistant\n<|recipient|>read_file\n<|content|>{\"path\": \"a.txt\"}<|stop|>",
        "{\"type\": \"tool_use\", \"id\": \"toolu_1\", \"name\": \"read_file\", \"input\": {\"path\": \"a.txt\"}}",
        "{\"name\": \"read_file\", \"arguments\": {\"arguments\": {\"path\": \"a.txt\"}}}",
        "{\"name\": \"read_file\", \"arguments\": [{\"name\": \"path\", \"value\": \"a.txt\"}]}",
        "{\"name\": \"read_file()\", \"arguments\": {\"path\": \"a.txt\"}}",
        "Tool: read_file\nArguments: {\"path\": \"a.txt\"}",
        "**Tool:** `read_file`\n**Parameters:**\n```json\n{\"path\": \"a.txt\"}\n```",
        "Function: read_file\nParameters: {\"path\": \"a.txt\"}",
        "assistant: {\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}",
        "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"</tool_call>",
        "<|tool_call>call:read_file{path:<|\"|>a.txt<|\"|><tool_call|>",
    ];
    let cases: Vec<(&str, &str)> = forms.iter().map(|form| (*form, ONE)).collect();
    check(&cases);
}

#[test]
fn several_calls_are_read_in_their_order() {
    let forms = [
        r#"[{"name": "read_file", "arguments": {"path": "a.txt"}}, {"name": "get_weather", "arguments": {"city": "Oslo"}}]"#,
        r#"{"name": "read_file", "arguments": {"path": "a.txt"}}{"name": "get_weather", "arguments": {"city": "Oslo"}}"#,
        "{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}",
        "{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}, {\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}",
        "{\"name\": \"read_file\", \"parameters\": {\"path\": \"a.txt\"}}; {\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}",
        "```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n```",
        "```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n```\nand\n```json\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n```",
        "1. {\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n2. {\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}",
        r#"{"read_file": {"path": "a.txt"}, "get_weather": {"city": "Oslo"}}"#,
        r#"[["read_file", {"path": "a.txt"}], ["get_weather", {"city": "Oslo"}]]"#,
        r#"["read_file(path='a.txt')", "get_weather(city='Oslo')"]"#,
        r#"{"tool_calls": [{"function": {"name": "read_file", "arguments": "{\"path\": \"a.txt\"}"}}, {"function": {"name": "get_weather", "arguments": "{\"city\": \"Oslo\"}"}}]}"#,
        "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call>\n<tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>",
        "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>",
        "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call> and <tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>",
        "<tool_call><function=read_file><parameter=path>a.txt</parameter></function></tool_call><tool_call><function=get_weather><parameter=city>Oslo</parameter></function></tool_call>",
        "<tool_call><function=read_file><parameter=path>a.txt</parameter></function><function=get_weather><parameter=city>Oslo</parameter></function></tool_call>",
        "<function_calls><invoke name=\"read_file\"><parameter name=\"path\">a.txt</parameter></invoke><invoke name=\"get_weather\"><parameter name=\"city\">Oslo</parameter></invoke></function_calls>",
        "[TOOL_CALLS]read_file[ARGS]{\"path\": \"a.txt\"}[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Oslo\"}",
        "<tool_call>read_file\n<arg_key>path</arg_key>\n<arg_value>a.txt</arg_value></tool_call>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value></tool_call>",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>read_file<｜tool▁sep｜>{\"path\": \"a.txt\"}<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Oslo\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "<|channel|>commentary to=functions.read_file <|constrain|>json<|message|>{\"path\": \"a.txt\"}<|call|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Oslo\"}<|call|>",
        "<read_file><path>a.txt</path></read_file>\n<get_weather><city>Oslo</city></get_weather>",
        "[read_file(path=\"a.txt\"), get_weather(city=\"Oslo\")]",
        "read_file(path=\"a.txt\")\nget_weather(city=\"Oslo\")",
        "read_file(path=\"a.txt\"), get_weather(city=\"Oslo\")",
        "read_file(path=\"a.txt\"); get_weather(city=\"Oslo\")",
        "read_file(path=\"a.txt\") and get_weather(city=\"Oslo\")",
        "```tool_code\nread_file(path=\"a.txt\")\nget_weather(city=\"Oslo\")\n```",
        "```python\na = read_file(path=\"a.txt\")\nb = get_weather(city=\"Oslo\")\nprint(a)\nprint(b)\n```",
        "<|tool_call_start|>[read_file(path=\"a.txt\"), get_weather(city=\"Oslo\")]<|tool_call_end|>",
        "<|tool_call>call:read_file{path:<|\"|>a.txt<|\"|>}<tool_call|><|tool_call>call:get_weather{city:<|\"|>Oslo<|\"|>}<tool_call|>",
        "Action: read_file\nAction Input: {\"path\": \"a.txt\"}\nAction: get_weather\nAction Input: {\"city\": \"Oslo\"}\nObservation: x",
    ];
    let cases: Vec<(&str, &str)> = forms.iter().map(|form| (*form, TWO)).collect();
    check(&cases);
}

#[test]
fn eight_objects_in_a_row_are_eight_calls() {
    let one = |n: usize| format!("{{\"name\": \"read_file\", \"arguments\": {{\"path\": \"{n}\"}}}}");
    let text: Vec<String> = (0..8).map(one).collect();
    for joined in [text.join("\n"), text.join(" "), text.join(""), text.join(",\n"), format!("[{}]", text.join(","))] {
        let Read::Calls { calls, .. } = read(&reply(&joined), &offered()) else { panic!("{joined}") };
        assert_eq!(calls.len(), 8, "{joined}");
        assert!(
            calls.iter().enumerate().all(|(n, call)| call.arguments["path"].as_str() == Some(&*n.to_string())),
            "{joined}"
        );
    }
}

#[test]
fn what_is_damaged_in_one_way_only_is_repaired() {
    check(&[
        (r#"{"name": "read_file", "arguments": {"path": "a.txt",},}"#, ONE),
        (r#"{name: "read_file", arguments: {path: "a.txt"}}"#, ONE),
        (r#"{'name': 'read_file', 'arguments': {'path': 'a.txt'}}"#, ONE),
        (r#"{“name”: “read_file”, “arguments”: {“path”: “a.txt”}}"#, ONE),
        ("{\"name\": \"read_file\" \"arguments\": {\"path\": \"a.txt\"}}", ONE),
        ("{\"name\": \"read_file\", // look\n \"arguments\": {\"path\": \"a.txt\"}}", ONE),
        ("{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}", ONE),
        ("[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}", ONE),
        ("[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}", ONE),
        ("<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}</tool_call>", ONE),
        ("<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}}</tool_call>", ONE),
        ("{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}}", ONE),
        (
            "{\"name\": \"write_file\", \"arguments\": {\"path\": \"a\", \"content\": \"x\ny\"}}",
            r#"write_file{"path":"a","content":"x\ny"}"#,
        ),
        (
            "{\"name\": \"write_file\", \"arguments\": {\"path\": \"a\", \"content\": \"b\", \"append\": True}}",
            r#"write_file{"path":"a","content":"b","append":true}"#,
        ),
        (
            r#"{"name": "write_file", "arguments": {"path": "a.py", "content": "print("hi")"}}"#,
            r#"write_file{"path":"a.py","content":"print(\"hi\")"}"#,
        ),
        (
            r#"{"name": "write_file", "arguments": {"path": "a", "content": "say "hi" now"}}"#,
            r#"write_file{"path":"a","content":"say \"hi\" now"}"#,
        ),
        (
            r#"{'name': 'write_file', 'arguments': {'path': 'a', 'content': 'it's here'}}"#,
            r#"write_file{"path":"a","content":"it's here"}"#,
        ),
        (
            r#"{"name": "read_file", "arguments": {"path": "C:\Users\dan\x.txt"}}"#,
            r#"read_file{"path":"C:\\Users\\dan\\x.txt"}"#,
        ),
        (r#"{"name": "read_file", "arguments": {"path": "a\u00e9\ud83d\ude00"}}"#, r#"read_file{"path":"aé😀"}"#),
        (r#"write_file(path="a", content="""x "y" z""")"#, r#"write_file{"path":"a","content":"x \"y\" z"}"#),
        (r#"write_file(path="a", content=r"\d+")"#, r#"write_file{"path":"a","content":"\\d+"}"#),
        ("write_file(\n    path=\"a\",\n    content=\"b\",\n)", r#"write_file{"path":"a","content":"b"}"#),
        (
            "fs.list(root='.', ends=('.pdf', '.txt'), deep=True, count=3)",
            r#"fs.list{"root":".","ends":[".pdf",".txt"],"deep":true,"count":3}"#,
        ),
        ("fs.list(**{'root': '.'})", r#"fs.list{"root":"."}"#),
    ]);
}

#[test]
fn what_could_mean_two_things_or_is_cut_never_runs() {
    check(&[
        (r#"{"name": "write_file", "arguments": {"path": "a", "content": "say "hi", "append": "b"}}"#, "MalformedCall"),
        (r#"{"name": "write_file", "arguments": {"path": "a", "content": "{"a": "x", "b": "y"}"}}"#, "MalformedCall"),
        (r#"{"name": "shell_exec", "arguments": {"command": "rm -rf /tmp/x"#, "MalformedCall"),
        (r#"{"name": "shell_exec", "arguments": {"command": "rm -rf /tmp/x""#, "MalformedCall"),
        (r#"{"name": "shell_exec", "arguments": {"command": "ls", "timeout_s": 1"#, "MalformedCall"),
        (r#"{"name": "shell_exec", "arguments": {"command": "ls","#, "MalformedCall"),
        (r#"<tool_call>{"name": "shell_exec", "arguments": {"command": "rm -rf /"#, "MalformedCall"),
        ("<tool_call>\n{\"name\": \"read_file\"", "MalformedCall"),
        ("<tool_call>", "MalformedCall"),
        ("<tool_call></tool_call>", "MalformedCall"),
        ("<tool_call>\n<function=shell_exec>\n<parameter=command>\nrm -rf /tmp", "MalformedCall"),
        ("<tool_call>\n<function=shell_exec>\n<parameter=command>\nls\n</parameter>\n", "MalformedCall"),
        ("<tool_call>shell_exec\n<arg_key>command</arg_key>\n<arg_value>rm -rf /tm", "MalformedCall"),
        ("<tool_call>shell_exec\n<arg_key>command</arg_key>\n<arg_value>ls</arg_value>", "MalformedCall"),
        ("[TOOL_CALLS]shell_exec[ARGS]{\"command\": \"rm", "MalformedCall"),
        ("[TOOL_CALLS][{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm", "MalformedCall"),
        ("<|python_tag|>{\"name\": \"shell_exec\", \"parameters\": {\"command\": \"rm -r", "MalformedCall"),
        (
            "<|channel|>commentary to=functions.shell_exec <|constrain|>json<|message|>{\"command\": \"rm -r",
            "MalformedCall",
        ),
        ("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>shell_exec<｜tool▁sep｜>{\"command\": \"rm", "MalformedCall"),
        ("<|tool_call>call:shell_exec{command:<|\"|>rm -rf", "MalformedCall"),
        (
            "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}</tool_call><tool_call>{\"name\": \"shell_exec\", \"argum",
            "MalformedCall",
        ),
        ("Action: shell_exec\nAction Input: {\"command\": \"rm -rf", "MalformedCall"),
        ("shell_exec(command=\"rm -rf /tmp", "Described"),
        ("shell_exec(command=\"rm -rf /tmp\"", "Described"),
        ("[shell_exec(command=\"rm -rf /tmp\"", "MalformedCall"),
        // nothing is evaluated
        (r#"{"name": "shell_exec", "arguments": {"command": "ls", "timeout_s": 2 * 3}}"#, "MalformedCall"),
        (r#"{"name": "read_file", "arguments": {"path": os.getcwd()}}"#, "MalformedCall"),
        ("read_file(path=os.path.join('a', 'b'))", "MalformedCall"),
        ("read_file(path=\"a\" + \"b\")", "Described"),
        ("read_file(path=\"a\"+\"b\")", "Described"),
        ("read_file(path=\"dir \" + \"b\")", "Described"),
        ("read_file(path=\"a\" if x else \"b\")", "Described"),
        ("read_file(path=\"a\" % \"b\")", "Described"),
        (r#"{"name": "read_file", "arguments": {"path": "a" + "b"}}"#, "MalformedCall"),
        (r#"{"name": "read_file", "arguments": {"path": "a" or "b"}}"#, "MalformedCall"),
        ("<tool_call>{\"name\": \"fs.list\"}</tool_call>", "MalformedCall"),
        ("read_file(path=f\"{name}.txt\")", "Described"),
        ("read_file(path=name)", "Described"),
        ("read_file(path=read_file(path='a'))", "MalformedCall"),
        ("<tool_call>read_file(path=open('x').read())</tool_call>", "MalformedCall"),
        ("```tool_code\nfor i in range(3):\n    read_file(path=str(i))\n```", "MalformedCall"),
        ("read_file(path='a').strip()", "Described"),
        ("shell_exec(command='ls', timeout_s=0x10)", "Described"),
        ("shell_exec(command='ls', timeout_s=007)", "Described"),
    ]);
}

#[test]
fn what_is_no_call_runs_nothing() {
    check(&[
        ("", "EmptyReply"),
        (" \n\t ", "EmptyReply"),
        ("<|im_end|>", "EmptyReply"),
        ("<think>I should call read_file</think>", "ReasoningOnly"),
        ("<think>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}", "ReasoningOnly"),
        (
            "<think><tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}</tool_call></think>",
            "ReasoningOnly",
        ),
        (
            "<think><tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}</tool_call></think>Done.",
            "text",
        ),
        ("maybe {\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}</think>Done.", "text"),
        ("[THINK]read_file(path='a')[/THINK]Done.", "text"),
        (
            "<|channel|>analysis<|message|>read_file(path='a')<|end|><|start|>assistant<|channel|>final<|message|>Done.<|return|>",
            "text",
        ),
        ("Done.", "text"),
        ("✅ Done.", "text"),
        ("完成", "text"),
        ("The file has 3 lines.", "text"),
        // data
        (r#"{"name": "Alice", "arguments": "none", "age": 31}"#, "text"),
        (r#"{"name": "Alice", "age": 31}"#, "text"),
        (r#"{"result": {"tool": "read_file", "ok": true}}"#, "text"),
        (r#"{"plan": [{"step": "call read_file"}]}"#, "text"),
        (r#"{"steps": [{"tool": "read_file", "args": {"path": "a"}}]}"#, "text"),
        (r#"{"answer": "used read_file", "calls_made": 3}"#, "text"),
        (r#"{"name": "read_file", "arguments": {"path": "a"}, "result": "hello"}"#, "text"),
        (
            r#"{"name": "read_file", "description": "Reads a file", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}"#,
            "text",
        ),
        (
            r#"{"type": "function", "function": {"name": "read_file", "parameters": {"type": "object", "properties": {}}}}"#,
            "text",
        ),
        (r#"{"tools": [{"name": "read_file", "arguments": {"path": "a"}}]}"#, "text"),
        ("```json\n{\"total\": 3, \"files\": [\"a\", \"b\"]}\n```", "text"),
        ("[]", "text"),
        ("[1, 2, 3]", "text"),
        ("null", "text"),
        // mentions and documents
        ("You can use it like this: `read_file(path=\"x\")`. Which file do you want?", "text"),
        ("You could run this:\n\n```python\nread_file(path=\"x\")\n```", "text"),
        ("For example:\n```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"x\"}}\n```", "text"),
        (
            "The file contains:\n\n{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm -rf /\"}}\n\nI did not act on it.",
            "text",
        ),
        ("The document says: \"{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}\"", "text"),
        ("> {\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}\n\nis what the mail said", "text"),
        (
            "The mail says: <tool_call>{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}</tool_call>",
            "text",
        ),
        ("I will not do that. A dangerous call would be:\n```\nshell_exec(command='rm -rf /')\n```", "text"),
        ("The tag `<tool_call>` starts a call.", "text"),
        (
            "Shall I go on with this?\n\n{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"ls\"}}\n\nPlease confirm: yes or no?",
            "text",
        ),
        ("The call read_file(path=\"x\") returns text.", "text"),
        ("f(x) = 3x + 2", "text"),
        // code
        ("```bash\nrm -rf /\n```", "text"),
        ("```bash\nread_file(path='a')\n```", "Described"),
        ("```python\nimport os\nos.remove('a')\n```", "text"),
        ("```python\nimport os\nread_file(path='a')\n```", "text"),
        ("```python\nfor name in names:\n    read_file(path=name)\n```", "text"),
        ("```python\ndef read_file(path):\n    return open(path).read()\n```", "text"),
        ("```python\nwith open('a') as f:\n    print(f.read())\n```", "text"),
        ("```html\n<table><tr><td>1</td></tr></table>\n```", "text"),
        ("<b>bold</b> and <i>italic</i>", "text"),
        ("a <b and c> d", "text"),
        // JSON that holds more than calls
        ("{\n  \"steps\": [\n    {\"tool\": \"read_file\", \"args\": {\"path\": \"a\"}}\n  ]\n}", "text"),
        (
            "{\n  \"steps\": [\n    {\"tool\": \"read_file\", \"args\": {\"path\": \"a\"}}\n  ],\n  broken here\n}",
            "MalformedCall",
        ),
        ("Here is the plan:\n{\"steps\": [\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}\n]}", "text"),
        ("The plan {\"steps\": [{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}]} is ready.", "text"),
        ("[{\"step\": 1, \"call\": {\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}}]", "text"),
        ("[{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}, {\"total\": 3}]", "text"),
        ("```js\nconst call = {\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}};\n```", "text"),
        ("{\"get_status\": {}}", "text"),
        ("{\"read_file\": {\"lines\": 3}}", "text"),
        ("{\"log\": \"<tool_call>{\\\"name\\\": \\\"read_file\\\"}</tool_call>\"}", "text"),
        (r#"{"log": "<tool_call>{'name': 'shell_exec', 'arguments': {'command': 'rm'}}</tool_call>"}"#, "text"),
        (r#"["<tool_call>{'name': 'shell_exec', 'arguments': {'command': 'rm'}}</tool_call>"]"#, "text"),
        (
            "The log has \"<tool_call>{'name': 'shell_exec', 'arguments': {'command': 'rm'}}</tool_call>\" in it.",
            "text",
        ),
        (
            "```python\nx = '<tool_call>{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}</tool_call>'\n```",
            "text",
        ),
        // not on offer
        (r#"{"name": "search", "arguments": {"q": "x"}}"#, "NotOffered"),
        ("```json\n{\"name\": \"search\", \"arguments\": {\"q\": \"x\"}}\n```", "NotOffered"),
        ("<tool_call>{\"name\": \"search\", \"arguments\": {\"q\": \"x\"}}</tool_call>", "NotOffered"),
        ("<function=search><parameter=q>x</parameter></function>", "NotOffered"),
        ("[TOOL_CALLS]search[ARGS]{\"q\": \"x\"}", "NotOffered"),
        ("<|channel|>commentary to=functions.search <|message|>{\"q\": \"x\"}<|call|>", "NotOffered"),
        ("Action: search\nAction Input: x", "NotOffered"),
        ("search(q=\"x\")", "NotOffered"),
        ("[search(q=\"x\")]", "NotOffered"),
        ("[read_file(path=\"a\"), search(q=\"x\")]", "NotOffered"),
        // told instead of made
        ("I will call read_file on a.txt.", "Described"),
        ("I'll use the read_file tool to look.", "Described"),
        ("Let me call fs.list first.", "Described"),
        ("Here is the tool call:\n```\nfs.list root=. count=5\n```", "Described"),
        ("```\nshell_exec command=ls timeout_s=3\n```", "Described"),
        ("fs.list --root=. --count=3", "Described"),
        ("I read the file with read_file and it holds three lines.", "text"),
        ("After using read_file on both, the totals agree.", "text"),
    ]);
}
