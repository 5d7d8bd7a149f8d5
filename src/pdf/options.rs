//! What a caller may ask of a reader: password, pages, limits of the output.

use serde::{Deserialize, Serialize};

use super::PdfError;

/// How to read one file.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// The user password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Only these pages; all when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PageSet>,
    /// Pages of the file where somebody has counted them; only says how the file is read.
    #[serde(skip)]
    pub pages_hint: Option<u32>,
    /// Where the output is cut.
    #[serde(default)]
    pub limits: OutputLimits,
}

impl std::fmt::Debug for ReadOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ReadOptions")
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("pages", &self.pages)
            .field("limits", &self.limits)
            .finish()
    }
}

/// Where the output of one file is cut; a cut sets `truncated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLimits {
    /// Cells of one table; later rows are dropped.
    pub cells_per_table_max: usize,
    /// Tables of one file.
    pub tables_max: usize,
    /// Cells of all tables together.
    pub cells_max: usize,
    /// Bytes of UTF-8 in all cells together.
    pub cell_bytes_max: usize,
    /// Bytes of UTF-8 in all pages' text together.
    pub text_bytes_max: usize,
}

impl Default for OutputLimits {
    fn default() -> Self {
        Self {
            cells_per_table_max: 200_000,
            tables_max: 5_000,
            cells_max: 1_000_000,
            cell_bytes_max: 8 << 20,
            text_bytes_max: 8 << 20,
        }
    }
}

/// Pages, counted from 1, as sorted ranges that do not touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageSet {
    ranges: Vec<(u32, u32)>,
}

impl PageSet {
    /// Reads `1,3-5`.
    ///
    /// # Errors
    /// [`PdfError::BadPages`] when it is no such list.
    pub fn parse(text: &str) -> Result<Self, PdfError> {
        const RANGES_MAX: usize = 1_000;
        let bad =
            |message: &str| PdfError::BadPages { pages: text.chars().take(80).collect(), message: message.to_owned() };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| digits.trim().parse::<u32>().map_err(|_| bad("not a list of page numbers"));
            let (first, last) = (number(first)?, number(last)?);
            if first == 0 || last < first {
                return Err(bad("pages count from 1 and ranges go upwards"));
            }
            ranges.push((first, last));
            if ranges.len() > RANGES_MAX {
                return Err(bad("more than 1,000 ranges"));
            }
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self { ranges: merged })
    }

    /// Every page.
    #[must_use]
    pub fn all() -> Self {
        Self { ranges: vec![(1, u32::MAX)] }
    }

    /// Whether a page is named.
    #[must_use]
    pub fn contains(&self, page: u32) -> bool {
        self.ranges.iter().any(|&(first, last)| first <= page && page <= last)
    }

    /// The ranges cut into pieces of at most `pages_max`, lazily and in order.
    pub fn pieces(&self, pages_max: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.ranges.iter().flat_map(move |&(first, last)| {
            let mut next = Some(first);
            std::iter::from_fn(move || {
                let start = next?;
                let end = start.saturating_add(pages_max - 1).min(last);
                next = (end < last).then(|| end + 1);
                Some((start, end))
            })
        })
    }
}

impl std::fmt::Display for PageSet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last { write!(out, "{comma}{first}")? } else { write!(out, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        assert_eq!(PageSet::parse(text).ok().map(|set| set.to_string()).as_deref(), expect, "{text}");
    }

    #[test]
    fn page_lists_are_read_sorted_and_merged() {
        check("1", Some("1"));
        check("7, 1-3 ,2-5", Some("1-5,7"));
        check("1,2", Some("1-2"));
        for bad in ["", "0", "a", "5-3", "-3", "1,", "1--2", "99999999999"] {
            check(bad, None);
        }
    }

    #[test]
    fn pieces_cover_the_ranges_and_end_at_the_last_number() {
        let set = PageSet::parse("2-6,10").unwrap();
        assert_eq!(set.pieces(2).collect::<Vec<_>>(), [(2, 3), (4, 5), (6, 6), (10, 10)]);
        let last = PageSet { ranges: vec![(u32::MAX - 1, u32::MAX)] };
        assert_eq!(last.pieces(64).collect::<Vec<_>>(), [(u32::MAX - 1, u32::MAX)]);
    }

    #[test]
    fn a_password_never_shows_in_debug_output() {
        let options = ReadOptions { password: Some("hunter2".into()), ..ReadOptions::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
