//! Answers event by event, and events of any kind.

use proptest::prelude::*;

use super::*;

fn play(events: &[Value]) -> Result<Whole, String> {
    let mut assembly = Assembly::default();
    for event in events {
        if let Heard::Error(error) = assembly.take(event)? {
            return Err(error.to_string());
        }
    }
    assembly.whole(&Names::default()).map_err(str::to_owned)
}

fn start() -> Value {
    json!({ "type": "message_start", "message": { "model": "claude-x", "content": [], "usage": { "input_tokens": 9, "output_tokens": 1 } } })
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({ "type": "message_delta", "delta": { "stop_reason": reason, "stop_details": { "category": "cyber", "explanation": "no" } }, "usage": { "output_tokens": 30 } }),
        json!({ "type": "message_stop" }),
    ]
}

fn block(index: u64, block: Value) -> Value {
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn delta(index: u64, delta: Value) -> Value {
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

#[test]
fn every_kind_of_block_is_put_together_and_unknown_ones_are_skipped() {
    let mut events = vec![
        start(),
        json!({ "type": "ping" }),
        block(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "hm" })),
        delta(0, json!({ "type": "signature_delta", "signature": "sig" })),
        json!({ "type": "content_block_stop", "index": 0 }),
        block(1, json!({ "type": "text", "text": "" })),
        delta(1, json!({ "type": "text_delta", "text": "I " })),
        delta(1, json!({ "type": "citations_delta", "citation": {} })),
        json!({ "type": "news_of_tomorrow", "index": 1 }),
        delta(1, json!({ "type": "text_delta", "text": "look." })),
        block(2, json!({ "type": "hologram", "data": 1 })),
        delta(2, json!({ "type": "hologram_delta" })),
        block(3, json!({ "type": "tool_use", "id": "t1", "name": "f", "input": {} })),
        delta(3, json!({ "type": "input_json_delta", "partial_json": "{\"a\":" })),
        delta(3, json!({ "type": "input_json_delta", "partial_json": "1}" })),
        block(4, json!({ "type": "tool_use", "id": "t2", "name": "g", "input": {} })),
        delta(4, json!({ "type": "input_json_delta", "partial_json": "" })),
    ];
    events.extend(end("tool_use"));
    let whole = play(&events).unwrap();
    assert_eq!((whole.text.as_str(), whole.thinking.as_str(), whole.stop), ("I look.", "hm", Stop::End));
    let calls: Vec<_> =
        whole.calls.iter().map(|call| (call.id.as_deref(), call.name.as_str(), &call.arguments)).collect();
    assert_eq!(calls, [(Some("t1"), "f", &json!({ "a": 1 })), (Some("t2"), "g", &json!({}))]);
    let kinds: Vec<_> = whole.echo.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(whole.echo[0], json!({ "type": "thinking", "thinking": "hm", "signature": "sig" }));
}

#[test]
fn an_answer_without_signed_reasoning_needs_no_echo() {
    let mut events = vec![start(), block(0, json!({ "type": "text", "text": "yes" }))];
    events.extend(end("end_turn"));
    assert!(play(&events).unwrap().echo.is_empty());
}

#[test]
fn each_reason_to_stop_has_its_meaning() {
    for (reason, stop, note) in [
        ("end_turn", Stop::End, ""),
        ("stop_sequence", Stop::End, ""),
        ("tool_use", Stop::End, ""),
        ("max_tokens", Stop::Length, ""),
        ("model_context_window_exceeded", Stop::Window, ""),
        ("pause_turn", Stop::Paused, ""),
        ("refusal", Stop::Declined, "cyber: no"),
        ("a_reason_of_tomorrow", Stop::End, ""),
    ] {
        let mut events = vec![start()];
        events.extend(end(reason));
        let whole = play(&events).unwrap();
        assert_eq!((whole.stop, whole.note.as_str()), (stop, note), "{reason}");
    }
}

#[test]
fn a_call_that_was_cut_stays_text_and_is_never_sent_back() {
    let mut events = vec![
        start(),
        block(0, json!({ "type": "redacted_thinking", "data": "x" })),
        block(1, json!({ "type": "tool_use", "id": "t", "name": "f", "input": {} })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "{\"city\":\"Os" })),
    ];
    events.extend(end("max_tokens"));
    let whole = play(&events).unwrap();
    assert_eq!((&whole.calls[0].arguments, whole.echo.len(), whole.stop), (&json!("{\"city\":\"Os"), 0, Stop::Length));
}

#[test]
fn a_stream_without_its_end_is_no_answer() {
    let [stop, last] = end("end_turn");
    assert_eq!(play(&[]).unwrap_err(), "the stream ended before the answer began");
    assert_eq!(play(&[start(), stop]).unwrap_err(), "the stream ended before the answer did");
    assert_eq!(play(&[start(), last]).unwrap_err(), "the server does not say why the model stopped");
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
    assert!(play(&[start(), error]).unwrap_err().contains("overloaded_error"));
    assert!(play(&[json!({ "choices": [] })]).is_err());
}

#[test]
fn an_answer_in_one_piece_is_read_like_its_stream() {
    let message = json!({
        "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "tool_use", "stop_sequence": null,
        "content": [{ "type": "text", "text": "I look." }, { "type": "tool_use", "id": "t", "name": "f", "input": { "a": 1 } }],
        "usage": { "input_tokens": 3, "output_tokens": 4 },
    });
    let mut assembly = Assembly::default();
    assert_eq!(assembly.take(&message).unwrap(), Heard::End);
    assert_eq!(assembly.tokens(), Some(Tokens::new(3, 4)));
    let whole = assembly.whole(&Names::default()).unwrap();
    assert_eq!((whole.text.as_str(), &whole.calls[0].arguments), ("I look.", &json!({ "a": 1 })));
}

fn any_event() -> impl Strategy<Value = Value> {
    let text = || prop_oneof![Just(json!("")), Just(json!("word ")), Just(json!(null)), Just(json!("{\"a\":1}"))];
    let index = 0_u64..4;
    prop_oneof![
        Just(start()),
        Just(json!({ "type": "ping" })),
        Just(json!({ "type": "message_stop" })),
        Just(json!({ "type": "content_block_start" })),
        prop_oneof![Just("end_turn"), Just("refusal"), Just("max_tokens")].prop_map(|reason| end(reason)[0].clone()),
        (index.clone(), text(), prop_oneof![Just("text"), Just("thinking"), Just("tool_use"), Just("redacted_thinking"), Just("x")])
            .prop_map(|(index, text, kind)| block(index, json!({ "type": kind, "text": text, "id": text, "name": text, "input": text }))),
        (index, text(), prop_oneof![Just("text"), Just("thinking"), Just("signature"), Just("input_json"), Just("x")])
            .prop_map(|(index, text, kind)| delta(
                index,
                json!({ "type": format!("{kind}_delta"), "text": text, "thinking": text, "signature": text, "partial_json": text }),
            )),
    ]
}

proptest! {
    #[test]
    fn any_row_of_events_is_read_or_refused(events in proptest::collection::vec(any_event(), 0..30)) {
        if let Ok(whole) = play(&events) {
            prop_assert!(whole.echo.is_empty() || whole.stop == Stop::End);
            prop_assert!(whole.stop == Stop::Declined || whole.note.is_empty());
        }
    }

    #[test]
    fn a_text_comes_out_as_it_went_in_wherever_it_was_cut(text in ".{0,60}", cut in 1_usize..20) {
        let letters: Vec<char> = text.chars().collect();
        let mut events = vec![start(), block(0, json!({ "type": "text", "text": "" }))];
        events.extend(letters.chunks(cut).map(|part| {
            delta(0, json!({ "type": "text_delta", "text": part.iter().collect::<String>() }))
        }));
        events.extend(end("end_turn"));
        prop_assert_eq!(play(&events).unwrap().text, text);
    }
}
