//! Answers of Claude from the wire: no panic, nothing whole without its end, the same answer wherever the network cuts.

use bolero::check;
use ollmcp::model::Stop;
use ollmcp::model::claude::read_stream;

/// Pieces that make faults likely where they meet.
const PIECES: &[&str] = &[
    "event: message_start\n",
    "data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":18446744073709551615,\"content_block\":{\"type\":\"new\"}}\n\n",
    "data: {\"type\":\"content_block_start\",\"index\":-1,\"content_block\":null}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"é日\"}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"s\"}}\n\n",
    "data: {\"type\":\"content_block_delta\",\"index\":7,\"delta\":{\"type\":\"x\"}}\n\n",
    "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"refusal\",\"stop_details\":{\"category\":\"bio\"}},\"usage\":null}\n\n",
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{\"output_tokens\":18446744073709551615,\"cache_read_input_tokens\":18446744073709551615}}\n\n",
    "data: {\"type\":\"message_stop\"}\n\n",
    "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
    "data: {\"type\":\"error\"}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "data: {\"type\":\"news\"}\n\n",
    "data: {\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},null,7],\"stop_reason\":\"end_turn\",\"usage\":[]}\n\n",
    "data: {\"type\":7}\n\n",
    "data: []\n\n",
    "data: {\n",
    ": comment\n\n",
    "data: ",
    "\r\n\r\n",
    "\n",
    "{",
    "\u{0}",
];

fn holds(body: &[u8], cut: usize) {
    let whole = read_stream([body]);
    let pieces = read_stream(body.chunks(cut.max(1)));
    match (&whole, &pieces) {
        (Ok(one), Ok(other)) => assert_eq!(one, other, "cut into {cut} bytes"),
        (Err(one), Err(other)) => assert_eq!(one, other, "cut into {cut} bytes"),
        (one, other) => panic!("{one:?} and {other:?}, cut into {cut} bytes"),
    }
    if let Ok(reply) = whole {
        let text = String::from_utf8_lossy(body);
        assert!(text.contains("message_stop") || text.contains("\"message\""), "whole without its end");
        assert!(reply.echo.is_empty() || reply.stop == Stop::End);
        assert!(reply.tokens.uncached() <= reply.tokens.prompt);
    }
}

#[test]
fn any_bytes_of_a_stream_are_read_or_refused() {
    check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, cut)| holds(bytes, usize::from(*cut)));
}

#[test]
fn any_row_of_events_is_read_or_refused_alike_however_it_is_cut() {
    check!().with_type::<(Vec<u8>, u8)>().for_each(|(picks, cut)| {
        let body: String = picks.iter().map(|pick| PIECES[usize::from(*pick) % PIECES.len()]).collect();
        holds(body.as_bytes(), usize::from(*cut));
    });
}
