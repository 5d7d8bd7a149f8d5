//! Conversations as they are sent, one by one and of any kind.

use proptest::prelude::*;

use super::*;
use crate::model::{NativeCall, ResultOf};

fn say(speaker: Speaker, text: &str) -> Message {
    Message::new(speaker, text)
}

fn call(id: Option<&str>, name: &str) -> NativeCall {
    NativeCall { id: id.map(str::to_owned), name: name.to_owned(), arguments: json!({ "x": 1 }) }
}

fn result(id: Option<&str>, name: &str, text: &str) -> Message {
    Message {
        result_of: Some(ResultOf { name: name.to_owned(), id: id.map(str::to_owned) }),
        ..Message::new(Speaker::Tool, text)
    }
}

fn calls(text: &str, calls: &[NativeCall]) -> Message {
    Message { calls: calls.to_vec(), ..Message::new(Speaker::Assistant, text) }
}

#[test]
fn results_of_one_turn_stand_in_one_message_in_the_order_of_the_calls_before_any_text() {
    let sent = Conversation::of(&[
        say(Speaker::System, "Rules."),
        say(Speaker::User, "Do it."),
        calls("I look.", &[call(Some("a"), "fs.read"), call(None, "g"), call(None, "g")]),
        say(Speaker::User, "Mind the time."),
        result(None, "g", "first"),
        result(Some("a"), "fs.read", "second"),
        result(None, "lost", "third"),
    ]);
    assert_eq!(sent.system, [json!({ "type": "text", "text": "Rules." })]);
    assert_eq!(sent.messages.len(), 3);
    let turn = &sent.messages[1]["content"];
    assert_eq!(turn[0], json!({ "type": "text", "text": "I look." }));
    let ids: Vec<_> = (1..4).map(|at| turn[at]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "call_2_1", "call_2_2"]);
    assert_eq!(turn[1]["name"], json!(wire_name("fs.read")));
    let answers = sent.messages[2]["content"].as_array().unwrap();
    let found: Vec<_> =
        answers.iter().map(|block| (block["type"].as_str().unwrap(), block["tool_use_id"].as_str())).collect();
    assert_eq!(
        found,
        [
            ("tool_result", Some("a")),
            ("tool_result", Some("call_2_1")),
            ("tool_result", Some("call_2_2")),
            ("text", None),
            ("text", None)
        ]
    );
    assert_eq!((&answers[0]["content"], &answers[1]["content"]), (&json!("second"), &json!("first")));
    assert_eq!((&answers[2]["content"], &answers[2]["is_error"]), (&json!(NOT_RUN), &json!(true)));
    assert_eq!(answers[4]["text"], json!("Result of lost:\nthird"));
}

#[test]
fn a_conversation_begins_and_ends_with_the_user_and_says_nothing_empty() {
    let sent = Conversation::of(&[calls("Hello.", &[]), calls(" ", &[]), say(Speaker::User, "\n")]);
    let roles: Vec<_> = sent.messages.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(sent.messages[1]["content"].as_array().unwrap().len(), 1);
    assert_eq!(Conversation::of(&[]).messages.len(), 1);
}

#[test]
fn signed_reasoning_goes_back_as_it_came() {
    let echo = vec![
        json!({ "type": "thinking", "thinking": "", "signature": "s1" }),
        json!({ "type": "text", "text": "I look." }),
        json!({ "type": "tool_use", "id": "t1", "name": wire_name("fs.read"), "input": { "path": "a" } }),
    ];
    let turn = Message { echo: echo.clone(), ..calls("cut", &[call(Some("t1"), "fs.read")]) };
    let sent = Conversation::of(&[say(Speaker::User, "Go."), turn.clone(), result(None, "fs.read", "text")]);
    assert_eq!(sent.messages[1]["content"], json!(echo));
    assert_eq!(sent.messages[2]["content"][0]["tool_use_id"], json!("t1"));
    // The same id twice is nothing that a server takes: the second turn is written anew.
    let twice = Conversation::of(&[say(Speaker::User, "Go."), turn.clone(), turn]);
    assert_eq!(twice.messages[3]["content"][1]["id"], json!("call_2_0"));
}

#[test]
fn marks_stand_on_what_is_repeated() {
    let history = [
        say(Speaker::System, "Rules."),
        say(Speaker::User, "One."),
        calls("", &[call(Some("a"), "f")]),
        result(Some("a"), "f", "x"),
        calls("", &[call(Some("b"), "f")]),
        result(Some("b"), "f", "y"),
    ];
    let marks = |sent: &Conversation| {
        let all = sent.system.iter().chain(sent.messages.iter().flat_map(|turn| turn["content"].as_array().unwrap()));
        all.map(|block| block.get("cache_control").is_some()).collect::<Vec<_>>()
    };
    let mut sent = Conversation::of(&history);
    assert!(sent.has_answer());
    sent.keep(true);
    assert_eq!(marks(&sent), [true, false, false, true, false, true]);
    let mut once = Conversation::of(&history[..2]);
    assert!(!once.has_answer());
    once.keep(false);
    assert_eq!(marks(&once), [true, false]);
}

fn any_message() -> impl Strategy<Value = Message> {
    let id = || proptest::option::of(prop_oneof![Just("a"), Just("b"), Just("with space"), Just("")]);
    let name = || prop_oneof![Just("f"), Just("g.h"), Just("")];
    let one_call = (id(), name(), prop_oneof![Just(json!({})), Just(json!("{\"x\"")), Just(json!(null))])
        .prop_map(|(id, name, arguments)| NativeCall { id: id.map(str::to_owned), name: name.to_owned(), arguments });
    let text = || prop_oneof![Just(String::new()), Just("words".to_owned()), Just(" \n".to_owned())];
    let speaker = prop_oneof![Just(Speaker::System), Just(Speaker::User)];
    prop_oneof![
        (speaker, text()).prop_map(|(speaker, text)| Message::new(speaker, text)),
        (text(), proptest::collection::vec(one_call, 0..4), any::<bool>()).prop_map(|(text, calls, is_signed)| {
            let echo = calls.iter().map(
                |one| json!({ "type": "tool_use", "id": one.id, "name": wire_name(&one.name), "input": one.arguments }),
            );
            let echo = if is_signed { echo.collect() } else { Vec::new() };
            Message { calls, echo, ..Message::new(Speaker::Assistant, text) }
        }),
        (id(), name(), text()).prop_map(|(id, name, text)| result(id, name, &text)),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_in_keeps_the_rules(history in proptest::collection::vec(any_message(), 0..12)) {
        let mut sent = Conversation::of(&history);
        sent.keep(true);
        prop_assert_eq!(sent.messages.first().map(|turn| &turn["role"]), Some(&json!("user")));
        prop_assert_eq!(sent.messages.last().map(|turn| &turn["role"]), Some(&json!("user")));
        let mut seen = BTreeSet::new();
        let mut wanted: Vec<String> = Vec::new();
        let mut marks = 0;
        for pair in sent.messages.windows(2) {
            prop_assert_ne!(&pair[0]["role"], &pair[1]["role"]);
        }
        for turn in &sent.messages {
            let blocks = turn["content"].as_array().unwrap();
            prop_assert!(!blocks.is_empty());
            marks += blocks.iter().filter(|block| block.get("cache_control").is_some()).count();
            if turn["role"] == "user" {
                let results = blocks.iter().take_while(|block| block["type"] == "tool_result");
                let found: Vec<String> = results.map(|block| block["tool_use_id"].as_str().unwrap().to_owned()).collect();
                prop_assert_eq!(&found, &wanted);
                prop_assert!(blocks[found.len()..].iter().all(|block| block["type"] == "text"));
                wanted.clear();
            } else {
                prop_assert!(wanted.is_empty());
                for block in blocks.iter().filter(|block| block["type"] == "tool_use") {
                    prop_assert!(block["input"].is_object());
                    prop_assert!(seen.insert(block["id"].as_str().unwrap().to_owned()));
                    wanted.push(block["id"].as_str().unwrap().to_owned());
                }
            }
            prop_assert!(blocks.iter().all(|block| block["type"] != "text" || !block["text"].as_str().unwrap().trim().is_empty()));
        }
        prop_assert!(marks <= 2);
    }

    #[test]
    fn what_was_said_is_written_the_same_way_in_every_later_request(
        history in proptest::collection::vec(any_message(), 1..12),
    ) {
        // Up to each reply of the model, the shorter conversation is a prefix of the longer one.
        let whole = Conversation::of(&history).messages;
        for (at, message) in history.iter().enumerate() {
            if message.speaker != Speaker::Assistant || history[..at].iter().all(|one| one.speaker == Speaker::System) {
                continue;
            }
            let part = Conversation::of(&history[..at]).messages;
            let ends_with_user = part.last().unwrap()["content"] != json!([{ "type": "text", "text": GO_ON }]);
            if ends_with_user {
                let (last, before) = part.split_last().unwrap();
                prop_assert_eq!(&whole[..before.len()], before);
                // Where the model's turn was empty, the user goes on in the same one.
                let (said, longer) = (last["content"].as_array().unwrap(), whole[before.len()]["content"].as_array().unwrap());
                prop_assert_eq!(&longer[..said.len()], &said[..]);
            }
        }
    }
}
