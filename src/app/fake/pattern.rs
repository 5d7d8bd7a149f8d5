//! A text that a regular expression takes: the first branch, the fewest repetitions, the first sign of each class.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest text that is made.
const BYTES_MAX: usize = 4_096;

/// The text; `None` for an expression that cannot be read.
pub(super) fn text(pattern: &str) -> Option<String> {
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut out = String::new();
    write(&hir, &mut out)?;
    Some(out)
}

fn write(hir: &Hir, out: &mut String) -> Option<()> {
    if out.len() > BYTES_MAX {
        return None;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            // A letter or a digit where there is one: `.` begins with signs that nobody can see.
            let plain = ['a', 'A', '0']
                .into_iter()
                .find(|plain| class.iter().any(|range| range.start() <= *plain && *plain <= range.end()));
            out.push(plain.or_else(|| class.iter().next().map(|range| range.start()))?);
        }
        HirKind::Class(Class::Bytes(class)) => out.push(char::from(class.iter().next()?.start())),
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                write(&repetition.sub, out)?;
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, out)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, out))?,
        HirKind::Alternation(branches) => write(branches.first()?, out)?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_made_is_taken() {
        for pattern in ["^[A-Z]{3}-[0-9]+$", "^(a|b)\\d{2,4}x?$", ".+", "^\\w+@\\w+\\.de$", "^$", "[^a-z]", "(?i)abc"] {
            let text = super::text(pattern).unwrap();
            assert!(regex::Regex::new(pattern).unwrap().is_match(&text), "{pattern}: {text:?}");
        }
        assert_eq!(super::text("(["), None);
        assert_eq!(super::text("(a{1000}){1000}"), None);
    }
}
