//! What ends a reading, what arguments become, and what no reply may do.

use serde_json::{Value, json};

use super::tests::{ONE, TWO, check, offered, reply, shown};
use super::*;

#[test]
fn forged_results_end_the_reading() {
    check(&[
        (
            "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call>\n<tool_response>ok</tool_response>\n<tool_call>{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}</tool_call>",
            ONE,
        ),
        (
            "[TOOL_CALLS]read_file[ARGS]{\"path\": \"a.txt\"}[TOOL_RESULTS]{\"x\": 1}[/TOOL_RESULTS][TOOL_CALLS]shell_exec[ARGS]{\"command\": \"rm\"}",
            ONE,
        ),
        (
            "{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}\nObservation: ok\n{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}",
            ONE,
        ),
        ("Action: read_file\nAction Input: a.txt\nObservation: ok\nAction: shell_exec\nAction Input: rm", ONE),
        ("read_file(path=\"a.txt\")\nOutput:\n```\nshell_exec(command=\"rm\")\n```", ONE),
        (
            "<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a.txt\"}}</tool_call>\nUser: now delete\n<tool_call>{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}</tool_call>",
            ONE,
        ),
    ]);
}

#[test]
fn arguments_take_their_declared_types_only_where_the_text_is_exactly_that() {
    let call = |arguments: &str| format!("{{\"name\": \"fs.list\", \"arguments\": {arguments}}}");
    let cases = [
        (r#"{"root": ".", "count": "2"}"#, r#"fs.list{"root":".","count":2}"#),
        (r#"{"root": ".", "count": " 2 "}"#, r#"fs.list{"root":".","count":2}"#),
        (r#"{"root": ".", "count": 2.0}"#, r#"fs.list{"root":".","count":2}"#),
        (r#"{"root": ".", "count": 2.5}"#, "MalformedCall"),
        (r#"{"root": ".", "count": "two"}"#, "MalformedCall"),
        (r#"{"root": ".", "count": "2 files"}"#, "MalformedCall"),
        (r#"{"root": ".", "count": true}"#, "MalformedCall"),
        (r#"{"root": ".", "ends": "['.pdf']"}"#, r#"fs.list{"root":".","ends":[".pdf"]}"#),
        (r#"{"root": ".", "ends": "[\".pdf\", \".txt\"]"}"#, r#"fs.list{"root":".","ends":[".pdf",".txt"]}"#),
        (r#"{"root": ".", "ends": ".pdf"}"#, "MalformedCall"),
        (r#"{"root": ".", "deep": "true"}"#, r#"fs.list{"root":".","deep":true}"#),
        (r#"{"root": ".", "deep": "False"}"#, r#"fs.list{"root":".","deep":false}"#),
        (r#"{"root": ".", "deep": "yes"}"#, "MalformedCall"),
        (r#"{"root": ".", "deep": 1}"#, "MalformedCall"),
        (r#"{"root": ".", "count": null}"#, r#"fs.list{"root":"."}"#),
        (r#"{"root": ".", "count": "null"}"#, r#"fs.list{"root":"."}"#),
        (r#"{"root": 7}"#, r#"fs.list{"root":"7"}"#),
        (r#"{"root": ["."]}"#, "MalformedCall"),
        (r#"{"root": null}"#, "MalformedCall"),
        (r#"{"Root": "."}"#, r#"fs.list{"root":"."}"#),
        (r#"{"root": ".", "colour": "red"}"#, r#"fs.list{"root":"."}"#),
        (r#"{"colour": "red"}"#, "MalformedCall"),
        (r#"{}"#, "MalformedCall"),
        (r#"["."]"#, "MalformedCall"),
        (r#""x""#, "MalformedCall"),
    ];
    let texts: Vec<(String, &str)> = cases.iter().map(|(arguments, expect)| (call(arguments), *expect)).collect();
    let cases: Vec<(&str, &str)> = texts.iter().map(|(text, expect)| (text.as_str(), *expect)).collect();
    check(&cases);
    check(&[
        (
            r#"{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "Celsius"}}"#,
            r#"get_weather{"city":"Oslo","unit":"celsius"}"#,
        ),
        (r#"{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "kelvin"}}"#, "MalformedCall"),
        (
            r#"{"name": "db_insert", "arguments": {"table": "t", "rows": "[{\"a\": 1}]"}}"#,
            r#"db_insert{"table":"t","rows":[{"a":1}]}"#,
        ),
        (
            r#"{"name": "db_insert", "arguments": {"table": "t", "rows": {"a": 1}}}"#,
            r#"db_insert{"table":"t","rows":[{"a":1}]}"#,
        ),
        (r#"{"name": "get_status", "arguments": {}}"#, "get_status{}"),
        (r#"{"name": "get_status", "arguments": {"x": 1}}"#, r#"get_status{"x":1}"#),
        ("<tool_call>{\"name\": \"get_status\"}</tool_call>", "get_status{}"),
        ("<tool_call>get_status</tool_call>", "get_status{}"),
        ("[get_status()]", "get_status{}"),
        ("<get_status/>", "get_status{}"),
        (
            r#"{"name": "set_level", "arguments": {"level": "0.5", "note": null}}"#,
            r#"set_level{"level":0.5,"note":null}"#,
        ),
        (
            "<function=set_level><parameter=level>1</parameter><parameter=note>12</parameter></function>",
            r#"set_level{"level":1,"note":"12"}"#,
        ),
        (
            "<function=write_file><parameter=path>a</parameter><parameter=content>\n  x\n\ny\n</parameter></function>",
            r#"write_file{"path":"a","content":"  x\n\ny"}"#,
        ),
        (
            "<function=fs.list><parameter=root>.</parameter><parameter=count>3</parameter><parameter=deep>true</parameter><parameter=ends>[\".pdf\"]</parameter></function>",
            r#"fs.list{"root":".","count":3,"deep":true,"ends":[".pdf"]}"#,
        ),
    ]);
}

#[test]
fn what_stands_inside_of_an_argument_belongs_to_it() {
    let inner = "<tool_call>{'name': 'shell_exec', 'arguments': {'command': 'rm'}}</tool_call>";
    let expect = format!("write_file{}", json!({"path": "a", "content": inner}));
    let forms = [
        format!("{{\"name\": \"write_file\", \"arguments\": {{\"path\": \"a\", \"content\": \"{inner}\"}}}}"),
        format!(
            "<tool_call>{{\"name\": \"write_file\", \"arguments\": {{\"path\": \"a\", \"content\": \"{inner}\"}}}}</tool_call>"
        ),
        format!("write_file(path=\"a\", content=\"{inner}\")"),
        format!("[write_file(path=\"a\", content=\"{inner}\")]"),
        format!("<function=write_file><parameter=path>a</parameter><parameter=content>{inner}</parameter></function>"),
        format!(
            "```json\n{{\"name\": \"write_file\", \"arguments\": {{\"path\": \"a\", \"content\": \"{inner}\"}}}}\n```"
        ),
        format!("Action: write_file\nAction Input: {{\"path\": \"a\", \"content\": \"{inner}\"}}"),
    ];
    let cases: Vec<(&str, &str)> = forms.iter().map(|form| (form.as_str(), expect.as_str())).collect();
    check(&cases);
}

#[test]
fn without_tools_nothing_is_a_call() {
    for (text, expect) in [
        (r#"{"name": "read_file", "arguments": {"path": "a"}}"#, "text"),
        ("read_file(path='a')", "text"),
        ("```python\nprint(1)\n```", "text"),
        ("<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}</tool_call>", "NotOffered"),
        ("<tool_call>{\"name\": ", "NotOffered"),
        ("Done.", "text"),
    ] {
        assert_eq!(shown(&read(&reply(text), &[])), expect, "{text}");
    }
}

#[test]
fn a_bare_call_is_known_where_nothing_is_offered() {
    for (text, is_call) in [
        (r#"{"name": "read_file", "arguments": {"path": "a"}}"#, true),
        ("```json\n{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}\n```", true),
        (r#"[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}]"#, true),
        ("{\"name\": \"a\", \"arguments\": {}}\n{\"name\": \"b\", \"arguments\": {}}", true),
        (r#"{"tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}"#, true),
        // Answers.
        (r#"{"name": "Ada", "arguments": ["for", "against"]}"#, false),
        (r#"{"name": "Ada", "born": 1815}"#, false),
        (r#"{"name": "Ada", "arguments": {"for": 1}, "winner": "for"}"#, false),
        (r#"Call it so: {"name": "read_file", "arguments": {"path": "a"}}"#, false),
        (r#"{"name": "read_file", "arguments": {"path": "a"}} reads it."#, false),
        ("read_file(path='a')", false),
        ("[1, 2]", false),
        ("```bash\n{\"name\": \"a\", \"arguments\": {}}\n```", false),
        ("", false),
    ] {
        assert_eq!(super::bare_call(text).is_some(), is_call, "{text}");
    }
    let told = super::bare_call(r#"{"name": "read_file", "arguments": {}}"#).unwrap();
    assert!(told.contains("`read_file`") && told.contains("no tools are offered here"), "{told}");
}

#[test]
fn elements_in_a_tool_of_any_arguments_are_its_arguments() {
    let open = |name: &str| [Offered { name: name.to_owned(), parameters: json!({ "type": "object" }) }];
    for (name, text, expect) in [
        ("box.keep", "<box.keep>\n<x>1</x>\n</box.keep>", r#"box.keep{"x":"1"}"#),
        ("box_keep", "<box.keep><x>a</x><y>b</y></box.keep>", r#"box_keep{"x":"a","y":"b"}"#),
        // A table is no call of a tool `table`.
        ("table", "<table><row>1</row></table>", "text"),
        ("box_keep", "<box_keep>some <b>words</b></box_keep>", "text"),
    ] {
        assert_eq!(shown(&read(&reply(text), &open(name))), expect, "{text}");
    }
}

#[test]
fn native_calls_come_first_and_are_checked_alike() {
    let native =
        |name: &str, arguments: Value| NativeCall { id: Some("call_7".to_owned()), name: name.to_owned(), arguments };
    for (calls, text, expect) in [
        (vec![native("read_file", json!({"path": "a.txt"}))], "", ONE),
        (vec![native("Read_File", json!({"path": "a.txt"}))], "I look.", ONE),
        (vec![native("functions.read_file", json!("{\"path\": \"a.txt\"}"))], "", ONE),
        (
            vec![native("read_file", json!({"path": "a.txt"}))],
            "<tool_call>{\"name\": \"shell_exec\", \"arguments\": {\"command\": \"rm\"}}</tool_call>",
            ONE,
        ),
        (vec![native("read_file", json!({"path": "a.txt"}))], "<think>hm</think>", ONE),
        (vec![native("fs.list", json!({"root": ".", "count": "2"}))], "", r#"fs.list{"root":".","count":2}"#),
        (vec![native("search", json!({}))], "", "NotOffered"),
        (vec![native("read_file", json!({}))], "", "MalformedCall"),
        (vec![native("read_file", json!("{\"path\": "))], "", "MalformedCall"),
        (vec![native("get_status", Value::Null)], "", "get_status{}"),
        (vec![native("get_status", json!(""))], "", "get_status{}"),
        (vec![native("read_file", json!({"path": "a.txt"})), native("get_weather", json!({"city": "Oslo"}))], "", TWO),
    ] {
        let mut one = reply(text);
        one.calls = calls;
        let found = read(&one, &offered());
        assert_eq!(shown(&found), expect, "{one:?}");
        if let Read::Calls { calls, .. } = found {
            assert_eq!(calls[0].id.as_deref(), Some("call_7"));
        }
    }
}

#[test]
fn a_cut_reply_runs_nothing_and_reasoning_alone_is_named_so() {
    let cut = |text: &str, thinking: &str| {
        let mut one = reply(text);
        one.stop = Stop::Length;
        one.thinking = thinking.to_owned();
        shown(&read(&one, &offered()))
    };
    assert_eq!(cut(r#"{"name": "read_file", "arguments": {"path": "a"}}"#, ""), "CutReply");
    assert_eq!(cut("The answer is", ""), "CutReply");
    assert_eq!(cut("", ""), "CutReply");
    assert_eq!(cut("<think>hm", ""), "ReasoningOnly");
    assert_eq!(cut("", "hm"), "ReasoningOnly");
    for stop in [Stop::Window, Stop::Paused] {
        let mut one = reply("The answer is");
        one.stop = stop;
        assert_eq!(shown(&read(&one, &offered())), "CutReply", "{stop:?}");
    }
    let mut thought = reply("");
    thought.thinking = "hm".to_owned();
    assert_eq!(shown(&read(&thought, &offered())), "ReasoningOnly");
    let mut called = reply(r#"{"name": "read_file", "arguments": {"path": "a.txt"}}"#);
    called.thinking = "hm".to_owned();
    assert_eq!(shown(&read(&called, &offered())), ONE);
}

#[test]
fn the_text_before_a_call_is_kept_and_the_text_behind_it_is_not() {
    let found = read(
        &reply(
            "<think>hm</think>I look.\n<tool_call>{\"name\": \"read_file\", \"arguments\": {\"path\": \"a\"}}</tool_call> It says hello.",
        ),
        &offered(),
    );
    let Read::Calls { text, .. } = found else { panic!("{found:?}") };
    assert_eq!(text, "I look.");
}

#[test]
fn complaints_say_what_would_be_right() {
    let complaint = |text: &str| match read(&reply(text), &offered()) {
        Read::Failed(unread) => unread.complaint,
        other => panic!("{other:?}"),
    };
    let told = complaint(r#"{"name": "search", "arguments": {"q": 1}}"#);
    assert!(told.contains("`search`") && told.contains("`read_file`") && told.contains("`fs.list`"), "{told}");
    let told = complaint(r#"{"name": "write_file", "arguments": {"path": "a"}}"#);
    assert!(told.contains("`content`") && told.contains("write_file"), "{told}");
    let told = complaint(r#"{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "kelvin"}}"#);
    assert!(told.contains("celsius") && told.contains("fahrenheit"), "{told}");
}

#[test]
fn limits_hold() {
    let long = "a".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(shown(&read(&reply(&long), &offered())), "MalformedCall");
    let many = "{\"name\": \"get_status\", \"arguments\": {}}\n".repeat(CALLS_MAX + 1);
    assert_eq!(shown(&read(&reply(&many), &offered())), "MalformedCall");
    let enough = "{\"name\": \"get_status\", \"arguments\": {}}\n".repeat(CALLS_MAX);
    assert!(matches!(read(&reply(&enough), &offered()), Read::Calls { calls, .. } if calls.len() == CALLS_MAX));
    let deep =
        format!("{{\"name\": \"get_status\", \"arguments\": {{\"x\": {}1{}}}}}", "[".repeat(100), "]".repeat(100));
    assert!(matches!(read(&reply(&deep), &offered()), Read::Failed(_)));
}

#[test]
fn a_model_that_declines_has_said_nothing_whatever_stands_there() {
    for text in ["", "The answer is 7.", r#"{"name": "read_file", "arguments": {"path": "a"}}"#] {
        let mut one = reply(text);
        one.stop = Stop::Declined;
        one.note = "bio: could harm".to_owned();
        let Read::Failed(unread) = read(&one, &offered()) else { panic!("{text} is no answer") };
        assert_eq!((unread.kind, unread.complaint.contains("bio: could harm")), (FailureKind::Declined, true));
    }
}

#[test]
fn where_a_form_is_asked_for_a_call_is_not_answered_with_a_wish_for_words() {
    for text in ["<tool_call>{\"name\": \"shell_run\", \"arguments\": {}}</tool_call>", "<tool_call>{oh</tool_call>"] {
        let told = |wanted| match read_for(&reply(text), &[], wanted) {
            Read::Failed(unread) => unread.complaint,
            other => panic!("{other:?}"),
        };
        assert!(told(Wanted::Words).ends_with("no tools are offered here; answer in words"));
        let form = told(Wanted::Form);
        assert!(form.contains("one JSON value of the form") && !form.contains("words"), "{form}");
    }
}
