//! Where the walker is: `steps[2].with.root`. Written out only when a fault needs it.

use std::fmt;

/// A place in the plan, linked to the place around it.
pub(super) struct At<'p> {
    around: Option<&'p Self>,
    part: Part<'p>,
}

enum Part<'p> {
    Top,
    Key(&'p str),
    Index(usize),
}

impl At<'_> {
    pub(super) const fn top() -> Self {
        Self { around: None, part: Part::Top }
    }

    pub(super) const fn key<'c>(&'c self, name: &'c str) -> At<'c> {
        At { around: Some(self), part: Part::Key(name) }
    }

    pub(super) const fn index(&self, index: usize) -> At<'_> {
        At { around: Some(self), part: Part::Index(index) }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(around) = self.around {
            around.fmt(f)?;
        }
        match self.part {
            Part::Top => Ok(()),
            Part::Index(index) => write!(f, "[{index}]"),
            Part::Key(name) => {
                let is_first = self.around.is_none_or(|around| matches!(around.part, Part::Top));
                if !is_first {
                    f.write_str(".")?;
                }
                for c in name.chars().take(60) {
                    write!(f, "{}", c.escape_debug())?;
                }
                Ok(())
            }
        }
    }
}
