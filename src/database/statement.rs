//! Whether a text is one reading statement. A cheap fence with good messages; the wall is the read-only connection.

/// Longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// Passes exactly one statement that only reads.
///
/// sqlx runs every statement of a text on SQLite, so a second one must be seen here.
///
/// # Errors
/// One sentence with a hint.
pub fn one_reading(sql: &str) -> Result<(), String> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(format!("the statement has {} bytes, at most {STATEMENT_BYTES_MAX} are taken", sql.len()));
    }
    if sql.contains('\0') {
        return Err("the statement has a NUL character; hint: send it as a parameter".into());
    }
    let words = scan(sql);
    match words.statements {
        0 => return Err("there is no statement; hint: write one `select …`".into()),
        1 => {}
        more => return Err(format!("there are {more} statements; hint: send one at a time")),
    }
    match words.first.as_str() {
        "select" | "with" | "values" => Ok(()),
        "explain" => match words.second.as_str() {
            "select" | "with" | "values" | "query" => Ok(()),
            _ => Err("only reading statements can be explained; hint: `explain query plan select …`".into()),
        },
        "pragma" => {
            Err("`pragma` is not taken; hint: ask for the schema, or select from `pragma_table_info('TABLE')`".into())
        }
        "" => Err("the statement begins with no word; hint: write one `select …`".into()),
        other => Err(format!("`{other}` is not taken, this is read-only; hint: write one `select …`")),
    }
}

struct Words {
    statements: usize,
    first: String,
    second: String,
}

/// Counts statements as SQLite splits them: strings, quoted names and comments hide semicolons.
fn scan(sql: &str) -> Words {
    let bytes = sql.as_bytes();
    let mut words = Words { statements: 0, first: String::new(), second: String::new() };
    let (mut at, mut open, mut tokens) = (0, false, 0_usize);
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b';' => {
                open = false;
                at += 1;
                continue;
            }
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = find(bytes, at, b'\n');
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += 2;
                while at < bytes.len() && !(bytes[at] == b'*' && bytes.get(at + 1) == Some(&b'/')) {
                    at += 1;
                }
                at = (at + 2).min(bytes.len());
                continue;
            }
            // SQLite's white space, and the byte order mark that it skips.
            b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' => {
                at += 1;
                continue;
            }
            0xef if bytes[at..].starts_with("\u{feff}".as_bytes()) => {
                at += 3;
                continue;
            }
            quote @ (b'\'' | b'"' | b'`') => at = find(bytes, at + 1, quote) + 1,
            b'[' => at = find(bytes, at, b']') + 1,
            byte if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || bytes[at] >= 0x80)
                {
                    at += 1;
                }
            }
            _ => at += 1,
        }
        if !open {
            open = true;
            words.statements += 1;
        }
        tokens += 1;
        let token = || String::from_utf8_lossy(&bytes[start..at.min(bytes.len())]).to_ascii_lowercase();
        match tokens {
            1 => words.first = token(),
            2 => words.second = token(),
            _ => {}
        }
    }
    words
}

fn find(bytes: &[u8], from: usize, byte: u8) -> usize {
    bytes[from.min(bytes.len())..].iter().position(|&b| b == byte).map_or(bytes.len(), |at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_statement_passes() {
        for sql in [
            "select 1",
            "  SELECT ';' as \"a;b\", [x;y], `z;` -- ; drop table x\n from t /* ; */ ;  -- the end\n ;;",
            "with a as (select 1) select * from a",
            "values (1), (2)",
            "explain query plan select 1",
            "/* c */ select 'it''s; fine'",
        ] {
            assert_eq!(one_reading(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for sql in [
            "",
            " ; ",
            "-- only a comment",
            "select 1; select 2",
            "select 1;/* */ drop table t",
            "select 'a''; ' ; delete from t",
            "delete from t",
            "insert into t values (1)",
            "pragma journal_mode = delete",
            "attach 'x' as y",
            "vacuum into 'x'",
            "explain delete from t",
            "begin",
            "commit",
            "(select 1)",
            "create table t (a)",
            "select 1\0",
        ] {
            assert!(one_reading(sql).is_err(), "{sql}");
        }
    }
}
