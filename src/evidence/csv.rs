//! Comma-separated values as RFC 4180 has them, looked at and not kept.

/// Whether every record has as many fields as the first, with quotes that close.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn parse(content: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut wanted = None;
    let (mut line, mut begun, mut fields) = (1, 1, 1);
    let mut chars = text.chars().peekable();
    let mut is_field_start = true;
    let mut is_record = false;
    let mut end_record = |fields: usize, begun: usize| match *wanted.get_or_insert(fields) {
        first if first == fields => Ok(()),
        first => Err(format!("line {begun} has {fields} fields, the first has {first}")),
    };
    while let Some(c) = chars.next() {
        is_record |= c != '\n' && c != '\r';
        match c {
            '"' if is_field_start => {
                let opened = line;
                loop {
                    match chars.next() {
                        Some('"') if chars.peek() == Some(&'"') => {
                            chars.next();
                        }
                        Some('"') => break,
                        Some('\n') => line += 1,
                        Some(_) => {}
                        None => return Err(format!("a quote that opens on line {opened} is never closed")),
                    }
                }
                if !matches!(chars.peek(), None | Some(',' | '\r' | '\n')) {
                    return Err(format!("text follows a closing quote on line {line}"));
                }
                is_field_start = false;
            }
            ',' => {
                fields += 1;
                is_field_start = true;
            }
            '\n' => {
                if is_record {
                    end_record(fields, begun)?;
                }
                line += 1;
                (begun, fields, is_field_start, is_record) = (line, 1, true, false);
            }
            _ => is_field_start = false,
        }
    }
    if is_record { end_record(fields, begun) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn records_of_one_width_hold_and_others_are_named_by_line() {
        for good in ["", "a,b\n1,2\n", "a,b\r\n\"x,\ny\"\"\",\r\n\r\n3,4", "one\n", "\u{feff}a,\"b\"\n,\n", "\"\"\n"] {
            assert_eq!(parse(good.as_bytes()), Ok(()), "{good:?}");
        }
        let told = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert_eq!(told("a,b\n\"x\ny\",2\n1\n"), "line 4 has 1 fields, the first has 2");
        assert_eq!(told("a\n\"b\n"), "a quote that opens on line 2 is never closed");
        assert_eq!(told("\"a\"b"), "text follows a closing quote on line 1");
        assert!(parse(&[0xff]).is_err());
    }
}
