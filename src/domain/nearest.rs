//! The known word that an unknown one was probably meant to be. Pure; used wherever a fault names a way out.

/// Longest word that is compared; longer ones are no slips of the finger and would cost quadratic time.
const WORD_CHARS_MAX: usize = 64;

/// Most edits between a slip and its word, however long the word is.
const EDITS_MAX: usize = 3;

/// The known word nearest to `word`: equal but for case, `_` and `-` first, else the fewest edits, at most a third
/// of the word's length, at least one and at most three. Ties go to the word that comes first; `word` itself is no answer.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(word);
    if word.is_empty() || wanted.len() > WORD_CHARS_MAX {
        return None;
    }
    let edits_max = (word.chars().count() / 3).clamp(1, EDITS_MAX);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known.into_iter().filter(|candidate| *candidate != word) {
        let letters = folded(candidate);
        if letters.len() > WORD_CHARS_MAX || letters.len().abs_diff(wanted.len()) > edits_max {
            continue;
        }
        let edits = distance(&wanted, &letters);
        if edits <= edits_max && best.is_none_or(|(least, _)| edits < least) {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Edits between two words; swapping two neighbours is one edit (optimal string alignment).
fn distance(left: &[char], right: &[char]) -> usize {
    let width = right.len() + 1;
    let mut two_back = vec![0; width];
    let mut back: Vec<usize> = (0..width).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1; width];
        for (j, b) in right.iter().enumerate() {
            let kept = back[j] + usize::from(a != b);
            row[j + 1] = kept.min(back[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                row[j + 1] = row[j + 1].min(two_back[j - 1] + 1);
            }
        }
        two_back = std::mem::replace(&mut back, row);
    }
    back[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_finds_none() {
        let known = ["max_parallel", "timeout", "mcpServers", "name"];
        for (typed, meant) in [
            ("max_paralel", Some("max_parallel")),
            ("tiemout", Some("timeout")),
            ("mcp_servers", Some("mcpServers")),
            ("MCPSERVERS", Some("mcpServers")),
            ("nme", Some("name")),
            ("max-parallel", Some("max_parallel")),
            ("maxparallel", Some("max_parallel")),
            ("nmae", Some("name")),
            ("name", None),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
        assert_eq!(nearest(&"a".repeat(10_000), known), None);
    }
}
