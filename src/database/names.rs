//! Names of columns and tables, made from headers. Pure: the same headers always give the same names.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::DatabaseError;

/// Longest column name, in characters. PostgreSQL's limit of 63 bytes is near it for plain names.
pub const COLUMN_CHARS_MAX: usize = 60;

/// Longest part of a table name that is made from headers, in characters.
const SLUG_CHARS_MAX: usize = 40;

/// Longest table name that a person may give, in bytes.
pub const TABLE_BYTES_MAX: usize = 128;

/// The provenance columns, in their order, each with its declared type.
pub const PROVENANCE: [(&str, &str); 5] =
    [("_file", "TEXT"), ("_page", "INTEGER"), ("_table", "INTEGER"), ("_row", "INTEGER"), ("_confidence", "REAL")];

/// Quotes an identifier. The only way that a name gets into SQL text.
#[must_use]
pub fn quote(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for c in name.chars() {
        if c == '"' {
            quoted.push('"');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// Folds the headers of one table into its column names: as many, in their order, unique, never empty, never
/// beginning with `_` (those are ours) or a digit.
#[must_use]
pub fn columns(headers: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::with_capacity(headers.len());
    let mut names = Vec::with_capacity(headers.len());
    for (at, header) in headers.iter().enumerate() {
        let mut name = fold(header);
        if name.is_empty() {
            name = format!("column_{}", at + 1);
        }
        let mut unique = name.clone();
        let mut number = 2_u32;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        names.push(unique);
    }
    names
}

/// Folds one header: compatible forms joined, lower-case, everything that is no letter or digit to single `_`.
fn fold(header: &str) -> String {
    let mut name = String::with_capacity(header.len().min(256));
    let mut gap = false;
    // Lower case before and after: some capitals (ﬀ-ligatures, ℡) unfold into capitals, some (İ) into marks.
    for c in header.nfkc().flat_map(char::to_lowercase).nfkc().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            if gap && !name.is_empty() {
                name.push('_');
            }
            gap = false;
            name.push(c);
        } else if !is_combining_mark(c) {
            gap = true;
        }
    }
    if name.chars().next().is_some_and(char::is_numeric) {
        name.insert_str(0, "c_");
    }
    if name == "rowid" || name == "oid" {
        // A column of this name would hide SQLite's own row id.
        name.insert_str(0, "c_");
    }
    if name.chars().count() > COLUMN_CHARS_MAX {
        // Cut, two long headers could become one name: the hash keeps them apart whatever their order.
        let kept: String = name.chars().take(COLUMN_CHARS_MAX - 9).collect();
        name = format!("{}_{}", kept.trim_end_matches('_'), short_hash(name.as_bytes()));
    }
    name
}

/// The name of the `auto` table of these column names.
#[must_use]
pub fn auto_table(columns: &[String]) -> String {
    let mut slug = String::new();
    for name in columns {
        let room = SLUG_CHARS_MAX.saturating_sub(slug.chars().count() + usize::from(!slug.is_empty()));
        if room == 0 {
            break;
        }
        if !slug.is_empty() {
            slug.push('_');
        }
        slug.extend(name.chars().take(room));
    }
    let slug = slug.trim_end_matches('_');
    let prefix = if slug.starts_with("sqlite_") { "t_" } else { "" };
    let signature = serde_json::to_vec(columns).expect("a list of strings is JSON");
    format!("{prefix}{slug}_{}", short_hash(&signature))
}

/// Whether a person may call a table so.
///
/// # Errors
/// [`DatabaseError::Target`] with the reason.
pub fn check_table(name: &str) -> Result<(), DatabaseError> {
    let shown: String = name.chars().take(60).filter(|c| !c.is_control()).collect();
    let lower = name.to_ascii_lowercase();
    let why = if name.trim().is_empty() {
        "is empty"
    } else if name.len() > TABLE_BYTES_MAX {
        "is longer than 128 bytes"
    } else if name.chars().any(char::is_control) {
        "has control characters"
    } else if lower.starts_with("sqlite_") {
        "begins with `sqlite_`, which SQLite keeps for itself"
    } else if lower.starts_with("_ollmcp") {
        "begins with `_ollmcp`, which the row ledger keeps for itself"
    } else {
        return Ok(());
    };
    Err(DatabaseError::Target(format!("table name `{shown}` {why}; hint: choose another name, or `auto`")))
}

/// Eight hexadecimal digits.
fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(headers: &[&str]) -> Vec<String> {
        columns(&headers.iter().map(|&h| h.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn headers_fold_into_plain_unique_names() {
        assert_eq!(
            names(&["Date", " Amount (EUR) ", "2024", "", "amount-eur"]),
            ["date", "amount_eur", "c_2024", "column_4", "amount_eur_2"]
        );
        assert_eq!(
            names(&["_file", "select", "a\"b", "Größe", "ΣΊΣΥΦΟΣ", "日付", "\u{fb01}n", "e\u{301}t"]),
            ["file", "select", "a_b", "größe", "σίσυφοσ", "日付", "fin", "ét"]
        );
        assert_eq!(names(&["a_2", "a", "a"]), ["a_2", "a", "a_3"]);
        assert_eq!(names(&["***", "\u{301}"]), ["column_1", "column_2"]);
        assert_eq!(names(&["RowId", "OID", "_rowid_"]), ["c_rowid", "c_oid", "c_rowid_2"]);
        assert_eq!(names(&["column_2", ""]), ["column_2", "column_2_2"]);
    }

    #[test]
    fn long_headers_are_cut_and_stay_apart() {
        let one = "x".repeat(5_000) + "1";
        let two = "x".repeat(5_000) + "2";
        let cut = names(&[&one, &two]);
        assert!(cut.iter().all(|name| name.chars().count() <= COLUMN_CHARS_MAX));
        assert_ne!(cut[0], cut[1]);
        assert_eq!(names(&[&two, &one]), [cut[1].clone(), cut[0].clone()]);
    }

    #[test]
    fn auto_tables_are_named_by_all_their_columns() {
        let long: Vec<String> = (0..300).map(|n| format!("column {n}")).collect();
        let mut other = long.clone();
        other[299].push('x');
        let (one, two) = (auto_table(&columns(&long)), auto_table(&columns(&other)));
        assert_ne!(one, two);
        assert!(one.chars().count() <= SLUG_CHARS_MAX + 9, "{one}");
        assert!(auto_table(&names(&["sqlite", "x"])).starts_with("t_sqlite_x_"));
        assert!(auto_table(&names(&["Date", "Amount"])).starts_with("date_amount_"));
    }

    #[test]
    fn reserved_table_names_are_refused() {
        for bad in ["", "  ", "sqlite_master", "SQLITE_x", "_ollmcp_ledger", "a\nb", &"x".repeat(129)] {
            assert!(check_table(bad).is_err(), "{bad}");
        }
        for good in ["rows", "My \"table\"", "select", "日付"] {
            assert!(check_table(good).is_ok(), "{good}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_headers_give_unique_names_that_sqlite_takes(headers in proptest::collection::vec(".{0,80}", 0..12)) {
            let names = columns(&headers);
            proptest::prop_assert_eq!(names.len(), headers.len());
            let apart: HashSet<String> = names.iter().map(|n| n.to_ascii_lowercase()).collect();
            proptest::prop_assert_eq!(apart.len(), names.len());
            for name in &names {
                proptest::prop_assert!(!name.is_empty() && !name.starts_with('_'));
                proptest::prop_assert!(!name.chars().next().unwrap().is_numeric());
                proptest::prop_assert!(!name.contains('\0') && !name.contains('"'));
            }
        }
    }
}
