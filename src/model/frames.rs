//! Bytes of an answer into its parts: lines of NDJSON, events of a server-sent stream, or one whole body. Pure.
//!
//! A part is complete or it is not given out, wherever the network cut it. Blank lines, comments and events without data
//! are no parts: they say that somebody is there, not that a model writes.

use std::collections::VecDeque;

/// Longest single part in bytes: a call may hold a whole file.
pub(super) const PART_BYTES_MAX: usize = 16 << 20;

/// How parts are told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One JSON object per line.
    Lines,
    /// Server-sent events: `data:` lines up to a blank line.
    Events,
    /// Everything that comes is one part.
    Whole,
}

/// One complete part, and when its first byte came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<T> {
    pub(super) bytes: Vec<u8>,
    pub(super) began: T,
}

/// A part grew beyond [`PART_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Collects bytes and gives out parts. `T` is a moment.
#[derive(Debug)]
pub(super) struct Frames<T> {
    framing: Framing,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// How many bytes of white space it begins with.
    blank: usize,
    line_began: Option<T>,
    /// Data lines of the event that has not ended yet.
    event: Vec<u8>,
    event_began: Option<T>,
    has_return: bool,
    ready: VecDeque<Part<T>>,
}

impl<T: Copy> Frames<T> {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            framing,
            line: Vec::new(),
            blank: 0,
            line_began: None,
            event: Vec::new(),
            event_began: None,
            has_return: false,
            ready: VecDeque::new(),
        }
    }

    /// Takes what came at one moment. Returns whether anything of a part was in it.
    pub(super) fn push(&mut self, bytes: &[u8], now: T) -> Result<bool, TooLong> {
        let ready_before = self.ready.len();
        if self.framing == Framing::Whole {
            let held = self.line.len();
            let fresh = if held == 0 { bytes.trim_ascii_start() } else { bytes };
            self.grow(fresh, now)?;
            return Ok(self.line.len() > held);
        }
        let data_before = self.event.len();
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, tail) = rest.split_at(at);
            let (end, after) = (tail[0], &tail[1..]);
            rest = after;
            // `\r\n` is one end of a line, also where the network cut between the two.
            let is_second_half = end == b'\n' && self.has_return && head.is_empty() && self.line.is_empty();
            self.has_return = end == b'\r';
            if !is_second_half {
                self.grow(head, now)?;
                self.end_line(now)?;
            }
        }
        if !rest.is_empty() {
            self.has_return = false;
            self.grow(rest, now)?;
        }
        let line_grew = !rest.is_empty() && self.may_be_data();
        Ok(line_grew || self.ready.len() > ready_before || self.event.len() > data_before)
    }

    /// The next complete part.
    pub(super) fn next(&mut self) -> Option<Part<T>> {
        self.ready.pop_front()
    }

    /// Whether a complete part waits.
    pub(super) fn has_next(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the part that is still coming began, where one is.
    pub(super) fn open_since(&self) -> Option<T> {
        self.event_began.or(self.line_began.filter(|_| self.may_be_data()))
    }

    /// The body has ended: what stands there is the last part, whole or not.
    pub(super) fn end(&mut self, now: T) -> Result<Option<Part<T>>, TooLong> {
        if self.framing == Framing::Events {
            if !self.line.is_empty() {
                self.end_line(now)?;
            }
            self.end_event();
            return Ok(self.ready.pop_front());
        }
        let began = self.line_began.take();
        let bytes = std::mem::take(&mut self.line);
        self.blank = 0;
        Ok(began.map(|began| Part { bytes, began }).filter(|part| !part.bytes.trim_ascii().is_empty()))
    }

    fn grow(&mut self, bytes: &[u8], now: T) -> Result<(), TooLong> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.line.len() + self.event.len() + bytes.len() > PART_BYTES_MAX {
            return Err(TooLong);
        }
        if self.blank == self.line.len() {
            self.blank += bytes.len() - bytes.trim_ascii_start().len();
        }
        self.line.extend_from_slice(bytes);
        self.line_began.get_or_insert(now);
        Ok(())
    }

    /// Whether the open line may yet become a part: comments and names of other fields never do.
    fn may_be_data(&self) -> bool {
        let line = &self.line[self.blank..];
        match self.framing {
            Framing::Lines | Framing::Whole => !line.is_empty(),
            Framing::Events => {
                let starts = |word: &[u8]| line.starts_with(word) || word.starts_with(line);
                !line.is_empty() && (starts(b"data:") || starts(b"error:") || line.starts_with(b"{"))
            }
        }
    }

    fn end_line(&mut self, now: T) -> Result<(), TooLong> {
        let began = self.line_began.take().unwrap_or(now);
        let line = std::mem::take(&mut self.line);
        self.blank = 0;
        if self.framing == Framing::Lines {
            if !line.trim_ascii().is_empty() {
                self.ready.push_back(Part { bytes: line, began });
            }
            return Ok(());
        }
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &line[line.len()..]),
        };
        match field {
            b"data" => self.add_data(value, began)?,
            // Older servers of llama.cpp tell faults in a field of this name.
            b"error" => {
                self.end_event();
                let bytes = [b"{\"error\":".as_slice(), value, b"}"].concat();
                self.ready.push_back(Part { bytes, began });
            }
            // A JSON object without a field name is what some servers send when they fail in mid-stream.
            _ if line.starts_with(b"{") => {
                self.end_event();
                self.ready.push_back(Part { bytes: line.to_vec(), began });
            }
            _ => {}
        }
        Ok(())
    }

    fn add_data(&mut self, value: &[u8], began: T) -> Result<(), TooLong> {
        if self.event.len() + value.len() > PART_BYTES_MAX {
            return Err(TooLong);
        }
        if self.event_began.is_some() {
            self.event.push(b'\n');
        }
        self.event.extend_from_slice(value);
        self.event_began.get_or_insert(began);
        Ok(())
    }

    fn end_event(&mut self) {
        let bytes = std::mem::take(&mut self.event);
        if let Some(began) = self.event_began.take()
            && !bytes.trim_ascii().is_empty()
        {
            self.ready.push_back(Part { bytes, began });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(framing: Framing, pieces: &[&[u8]]) -> Vec<String> {
        let mut frames = Frames::new(framing);
        let mut found = Vec::new();
        for (moment, piece) in pieces.iter().enumerate() {
            frames.push(piece, moment).unwrap();
            found.extend(std::iter::from_fn(|| frames.next()));
        }
        while let Some(part) = frames.end(pieces.len()).unwrap() {
            found.push(part);
        }
        found.into_iter().map(|part| String::from_utf8(part.bytes).unwrap()).collect()
    }

    #[test]
    fn lines_come_out_whole_and_blank_ones_do_not_count() {
        assert_eq!(
            parts(Framing::Lines, &[b"{\"a\":1}\r\n\r\n{\"b\"", b":2}\n \n", b"{\"c\":"]),
            ["{\"a\":1}", "{\"b\":2}", "{\"c\":"]
        );
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = b": hello\n\ndata: {\"a\":1}\n\nevent: x\nid: 3\ndata:{\"b\":\ndata: 2}\n\nretry: 5\n\ndata\n\ndata: [DONE]";
        assert_eq!(parts(Framing::Events, &[text]), ["{\"a\":1}", "{\"b\":\n2}", "[DONE]"]);
        assert_eq!(parts(Framing::Events, &[b"data: a\r", b"\n\r\ndata: b\r\r"]), ["a", "b"]);
        assert_eq!(parts(Framing::Events, &[b"\xef\xbb\xbfdata: a\n\n"]), ["a"]);
    }

    #[test]
    fn faults_outside_of_events_are_parts_too() {
        let text = b"data: a\n\nerror: {\"message\":\"x\"}\n\n{\"error\":\"y\"}\n";
        assert_eq!(parts(Framing::Events, &[text]), ["a", "{\"error\":{\"message\":\"x\"}}", "{\"error\":\"y\"}"]);
    }

    #[test]
    fn a_whole_body_is_one_part() {
        assert_eq!(parts(Framing::Whole, &[b" \n", b"{\n\"a\":", b"1\n}\n"]), ["{\n\"a\":1\n}\n"]);
        assert_eq!(parts(Framing::Whole, &[b" \n"]), [""; 0]);
    }

    #[test]
    fn comments_and_blank_lines_are_no_sign_of_a_model() {
        let mut frames = Frames::new(Framing::Events);
        for quiet in [b": wait".as_slice(), b"ing\n\n", b"event: ping\n", b"\n", b": "] {
            assert_eq!(frames.push(quiet, 1), Ok(false), "{quiet:?}");
            assert_eq!(frames.open_since(), None, "{quiet:?}");
        }
        assert_eq!(frames.push(b"x\n\nda", 2), Ok(true));
        assert_eq!(frames.open_since(), Some(2));
        assert_eq!(frames.push(b"ta: 1\n", 3), Ok(true));
        assert_eq!(frames.open_since(), Some(2), "an event begins with its first data line");
        assert_eq!(frames.push(b"\n", 4), Ok(true));
        assert_eq!(frames.open_since(), None);
        assert_eq!(frames.next(), Some(Part { bytes: b"1".to_vec(), began: 2 }));
    }

    #[test]
    fn a_part_knows_when_it_began() {
        let mut frames = Frames::new(Framing::Lines);
        frames.push(b"a\nb", 1).unwrap();
        frames.push(b"c\nd\n", 2).unwrap();
        let began: Vec<i32> = std::iter::from_fn(|| frames.next()).map(|part| part.began).collect();
        assert_eq!(began, [1, 1, 2]);
    }

    #[test]
    fn a_part_has_a_longest_length() {
        for framing in [Framing::Lines, Framing::Events, Framing::Whole] {
            let mut frames = Frames::new(framing);
            let piece = vec![b'{'; 1 << 20];
            for _ in 0..16 {
                assert_eq!(frames.push(&piece, 0), Ok(true));
            }
            assert_eq!(frames.push(b"x", 0), Err(TooLong), "{framing:?}");
        }
        let mut frames = Frames::new(Framing::Events);
        let line = [b"data: ".as_slice(), &vec![b'a'; 1 << 20], b"\n"].concat();
        assert!((0..17).any(|_| frames.push(&line, 0) == Err(TooLong)), "many lines of one event are one part");
    }

    proptest! {
        #[test]
        fn where_the_network_cuts_changes_nothing(
            text in "(data: ?[a-z{}é ]{0,5}|:x|[a-z]{0,3}|\\{\\}|\r\n|\n|\r){0,20}",
            cuts in proptest::collection::vec(0_usize..200, 0..12),
        ) {
            let bytes = text.as_bytes();
            let mut places: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            places.push(bytes.len());
            places.sort_unstable();
            for framing in [Framing::Lines, Framing::Events] {
                let mut frames = Frames::new(framing);
                let mut found = Vec::new();
                let mut from = 0;
                for to in &places {
                    frames.push(&bytes[from..*to], 0).unwrap();
                    found.extend(std::iter::from_fn(|| frames.next()));
                    from = *to;
                }
                while let Some(part) = frames.end(0).unwrap() {
                    found.push(part);
                }
                let found: Vec<Vec<u8>> = found.into_iter().map(|part| part.bytes).collect();
                let whole: Vec<Vec<u8>> = parts(framing, &[bytes]).into_iter().map(String::into_bytes).collect();
                prop_assert_eq!(found, whole);
            }
        }
    }
}
