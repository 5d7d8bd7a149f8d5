//! Words in what models write: names, keywords, and what joins two literals.

pub(super) fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The dotted name at the start, with dashes and colons where a word follows.
pub(super) fn callee(rest: &str) -> &str {
    let mut end = 0;
    for (at, c) in rest.char_indices() {
        let is_inner = matches!(c, '.' | '-' | ':' | '/')
            && at > 0
            && rest[at + 1..].starts_with(|c: char| is_word(c) || (c == ':' && rest[at..].starts_with("::")));
        let is_second_colon = c == ':' && rest[..at].ends_with(':') && rest[at + 1..].starts_with(is_word);
        if !(is_word(c) && (at > 0 || is_word_start(c)) || is_inner || is_second_colon) {
            break;
        }
        end = at + c.len_utf8();
    }
    &rest[..end]
}

/// `key=` or `key:` of an argument, with its length.
pub(super) fn keyword(rest: &str) -> Option<(&str, usize)> {
    let (unquoted, quote) = match rest.chars().next()? {
        // `"key"=value`: seen in the wild.
        quote @ ('"' | '\'') => (&rest[1..], Some(quote)),
        _ => (rest, None),
    };
    let end = unquoted.find(|c: char| !(is_word(c) || c == '-'))?;
    let key = &unquoted[..end];
    if !key.starts_with(is_word_start) {
        return None;
    }
    let mut after = &unquoted[end..];
    if let Some(quote) = quote {
        after = after.strip_prefix(quote)?;
    }
    let after = after.trim_start_matches(' ');
    let value = after
        .strip_prefix('=')
        .filter(|value| !value.starts_with('='))
        .or_else(|| after.strip_prefix(':').filter(|value| quote.is_none() && !value.starts_with(':')))?;
    Some((key, rest.len() - value.len()))
}

/// What may stand between two calls: `+`, `and`, `or`, `|`, `&`, `;`.
pub(super) fn joiner(rest: &str) -> Option<usize> {
    for word in ["and ", "or ", "&&", "||", "+", "|", "&", ";", "and\n", "or\n"] {
        if rest.starts_with(word) {
            return Some(word.len());
        }
    }
    None
}
