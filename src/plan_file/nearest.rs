//! The nearest known word, for "did you mean".

/// The word of `known` that `word` most likely stands for: equal but for case and separators, or within a third of
/// its length in edits (a swap of neighbours counts as one).
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let folded = fold(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in known {
        if candidate == word || candidate.len() > 64 {
            continue;
        }
        let away = if fold(candidate) == folded { 0 } else { distance(&folded, &fold(candidate)) };
        if away <= limit && best.is_none_or(|(least, _)| away < least) {
            best = Some((away, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// Optimal string alignment: insertions, deletions, replacements, swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (at, row) in rows.iter_mut().enumerate() {
        row[0] = at;
    }
    for (at, cell) in rows[0].iter_mut().enumerate() {
        *cell = at;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[track_caller]
    fn check(word: &str, known: &[&str], expected: Option<&str>) {
        assert_eq!(nearest(word, known.iter().copied()), expected, "{word}");
    }

    #[test]
    fn a_slip_finds_its_word_and_a_stranger_does_not() {
        let keys = ["done_when", "needs", "with", "if", "for_each", "on_error"];
        check("done_whn", &keys, Some("done_when"));
        check("doneWhen", &keys, Some("done_when"));
        check("for-each", &keys, Some("for_each"));
        check("foreach", &keys, Some("for_each"));
        check("wiht", &keys, Some("with"));
        check("need", &keys, Some("needs"));
        check("banana", &keys, None);
        check("", &keys, None);
    }
}
