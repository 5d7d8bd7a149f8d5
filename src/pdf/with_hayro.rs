//! The second reader: hayro's glyphs and paths, fed into pdfni's detectors. Opens what pdfni refuses, and says
//! honestly which glyphs have no Unicode.

use hayro_interpret::font::{Glyph, GlyphRun};
use hayro_interpret::hayro_cmap::BfString;
use hayro_interpret::hayro_syntax::Pdf;
use hayro_interpret::kurbo::{Affine, BezPath, PathEl, Point, Rect, Shape};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, SoftMask, TransformExt, interpret_page,
};
use pdfni::{EdgePart, GlyphPart, Orientation, PagePart, TextChar, TextFont, TextPage};

use super::page::{PageText, RawPage, Reading, page_text};
use super::with_pdfni::{Fault, detect_options};
use super::{PageSet, ReadOptions};

/// A page with more rulings than this is a drawing; they are left out.
const EDGES_MAX: usize = 100_000;
/// A filled box at most this thick, in points, is a ruling.
const RULING_POINTS_MAX: f64 = 3.0;
/// Ends of a ruling may differ by this across its length, in points.
const STRAIGHT_POINTS_MAX: f64 = 0.5;
/// Height of a glyph box over and under the base line, in ems; pdfni's detectors want such a box.
const ASCENT_EM: f64 = 0.8;
const DESCENT_EM: f64 = 0.2;

/// What hayro alone knows of a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) glyphs: u64,
    pub(super) unmapped: u64,
    pub(super) hidden: u64,
    pub(super) images: u64,
}

impl Facts {
    pub(super) fn unmapped_percent(self) -> u64 {
        (self.unmapped * 100).checked_div(self.glyphs).unwrap_or(0)
    }
}

/// Opens a file.
pub(super) fn open(pdf: &[u8], password: Option<&str>) -> Result<Pdf, Fault> {
    Pdf::new_with_password(pdf.to_vec(), password.unwrap_or("")).map_err(|error| {
        // hayro-syntax does not export the names of its errors, only their values.
        let error = format!("{error:?}");
        if error.contains("PasswordProtected") {
            Fault::Password
        } else if error.contains("Decryption") {
            Fault::Structure(format!("its encryption cannot be undone ({error})"))
        } else {
            Fault::Structure("no usable structure found".to_owned())
        }
    })
}

/// Reads text and, if wanted, tables.
pub(super) fn read(pdf: &[u8], options: &ReadOptions, with_tables: bool) -> Result<(Reading, Facts), Fault> {
    let pdf = open(pdf, options.password.as_deref())?;
    let all = PageSet::all();
    let wanted = options.pages.as_ref().unwrap_or(&all);
    let detect = detect_options();
    let mut facts = Facts::default();
    let mut pages = Vec::new();
    let total = pdf.pages().len();
    for_each_page(&pdf, wanted, |number, width, height, sheet| {
        facts.glyphs += sheet.facts.glyphs;
        facts.unmapped += sheet.facts.unmapped;
        facts.hidden += sheet.facts.hidden;
        facts.images += sheet.facts.images;
        let (part, page) = sheet.upright(width, height);
        let PageText { text, words, glyphs, odd_glyphs } = page_text(&page);
        let edges = if with_tables { part.edges.clone() } else { Vec::new() };
        let tables = if with_tables {
            pdfni::extract_from_parts(vec![part], &detect).pages.into_iter().flat_map(|page| page.tables).collect()
        } else {
            Vec::new()
        };
        pages.push(RawPage { number, tables, edges, words, text, glyphs, odd_glyphs });
    });
    let pages_total = u32::try_from(total).unwrap_or(u32::MAX);
    Ok((Reading { reader: "hayro", pages, pages_total }, facts))
}

/// Counts glyphs and pictures of the first pages without building anything.
pub(super) fn facts(pdf: &Pdf, pages: &PageSet) -> Facts {
    let mut facts = Facts::default();
    for_each_page(pdf, pages, |_, _, _, sheet| {
        facts.glyphs += sheet.facts.glyphs;
        facts.unmapped += sheet.facts.unmapped;
        facts.hidden += sheet.facts.hidden;
        facts.images += sheet.facts.images;
    });
    facts
}

fn for_each_page(pdf: &Pdf, wanted: &PageSet, mut visit: impl FnMut(u32, f64, f64, Sheet)) {
    let cache = InterpreterCache::new();
    for (number, page) in (1_u32..).zip(pdf.pages().iter()) {
        if !wanted.contains(number) {
            continue;
        }
        let (width, height) = page.render_dimensions();
        let (width, height) = (f64::from(width), f64::from(height));
        let mut context = Context::new(
            page.initial_transform(true).to_kurbo(),
            Rect::new(0.0, 0.0, width, height),
            &cache,
            pdf.xref(),
            InterpreterSettings::default(),
        );
        let mut sheet = Sheet::default();
        interpret_page(page, &mut context, &mut sheet);
        visit(number, width, height, sheet);
    }
}

/// One glyph on the page, origin top left.
#[derive(Debug)]
struct Mark {
    text: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    origin: Point,
    /// Direction of the line in quarter turns against the clock; `None` off the axes.
    turn: Option<u8>,
    size: f64,
}

/// Collects what is drawn.
#[derive(Debug, Default)]
struct Sheet {
    marks: Vec<Mark>,
    edges: Vec<EdgePart>,
    facts: Facts,
}

impl Sheet {
    fn glyph(&mut self, glyph: &Glyph<'_>, place: Affine, hidden: bool) {
        self.facts.glyphs += 1;
        self.facts.hidden += u64::from(hidden);
        let text = match glyph.as_unicode() {
            Some(BfString::Char(letter)) => letter.to_string(),
            Some(BfString::String(letters)) => letters,
            None => {
                self.facts.unmapped += 1;
                '\u{fffd}'.to_string()
            }
        };
        let advance = match glyph {
            Glyph::Outline(outline) => outline.advance_width(),
            Glyph::Type3(type3) => type3.advance_width(),
        };
        let advance = f64::from(advance.unwrap_or(500.0));
        let corners = [
            place * Point::new(0.0, -1000.0 * DESCENT_EM),
            place * Point::new(advance, -1000.0 * DESCENT_EM),
            place * Point::new(0.0, 1000.0 * ASCENT_EM),
            place * Point::new(advance, 1000.0 * ASCENT_EM),
        ];
        let origin = place * Point::ZERO;
        if !corners.iter().chain([&origin]).all(|point| point.x.is_finite() && point.y.is_finite()) {
            return;
        }
        let along = place * Point::new(1000.0, 0.0) - origin;
        let turn = if along.x.abs() > 20.0 * along.y.abs() {
            Some(if along.x > 0.0 { 0 } else { 2 })
        } else if along.y.abs() > 20.0 * along.x.abs() {
            Some(if along.y < 0.0 { 1 } else { 3 })
        } else {
            None
        };
        let least = |of: fn(&Point) -> f64| corners.iter().map(of).fold(f64::INFINITY, f64::min);
        let most = |of: fn(&Point) -> f64| corners.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        self.marks.push(Mark {
            text,
            left: least(|point| point.x),
            right: most(|point| point.x),
            top: least(|point| point.y),
            bottom: most(|point| point.y),
            origin,
            turn,
            size: (place * Point::new(0.0, 1000.0) - origin).hypot(),
        });
    }

    fn edge(&mut self, from: Point, to: Point) {
        if self.edges.len() >= EDGES_MAX || !(from.x + from.y + to.x + to.y).is_finite() {
            return;
        }
        let (left, right) = (from.x.min(to.x), from.x.max(to.x));
        let (top, bottom) = (from.y.min(to.y), from.y.max(to.y));
        if bottom - top <= STRAIGHT_POINTS_MAX && right - left > STRAIGHT_POINTS_MAX {
            self.edges.push(EdgePart { orientation: Orientation::Horizontal, left, right, top, bottom: top });
        } else if right - left <= STRAIGHT_POINTS_MAX && bottom - top > STRAIGHT_POINTS_MAX {
            self.edges.push(EdgePart { orientation: Orientation::Vertical, left, right: left, top, bottom });
        }
    }

    fn stroked(&mut self, path: &BezPath, place: Affine) {
        let (mut start, mut at) = (Point::ZERO, Point::ZERO);
        for element in path.elements() {
            match *element {
                PathEl::MoveTo(to) => (start, at) = (place * to, place * to),
                PathEl::LineTo(to) => {
                    self.edge(at, place * to);
                    at = place * to;
                }
                PathEl::QuadTo(_, to) | PathEl::CurveTo(_, _, to) => at = place * to,
                PathEl::ClosePath => {
                    self.edge(at, start);
                    at = start;
                }
            }
        }
    }

    fn filled(&mut self, path: &BezPath, place: Affine) {
        let straight = path.elements().iter().all(|el| !matches!(el, PathEl::QuadTo(..) | PathEl::CurveTo(..)));
        if !straight {
            return;
        }
        for part in path.elements().split_inclusive(|element| matches!(element, PathEl::ClosePath)) {
            let part = BezPath::from_vec(part.to_vec());
            if !matches!(part.elements().first(), Some(PathEl::MoveTo(_))) {
                continue;
            }
            let hull = place.transform_rect_bbox(part.bounding_box());
            let (width, height) = (hull.width(), hull.height());
            let (middle_x, middle_y) = (hull.center().x, hull.center().y);
            if height <= RULING_POINTS_MAX && width > height {
                self.edge(Point::new(hull.x0, middle_y), Point::new(hull.x1, middle_y));
            } else if width <= RULING_POINTS_MAX && height > width {
                self.edge(Point::new(middle_x, hull.y0), Point::new(middle_x, hull.y1));
            } else {
                self.stroked(&part, place);
            }
        }
    }

    /// The page turned so that most of its text runs from left to right.
    fn upright(self, width: f64, height: f64) -> (PagePart, TextPage) {
        let mut counts = [0_usize; 4];
        for turn in self.marks.iter().filter_map(|mark| mark.turn) {
            counts[usize::from(turn)] += 1;
        }
        let turn = (0_u8..4).max_by_key(|&turn| (counts[usize::from(turn)], 4 - turn)).unwrap_or(0);
        let move_point = |x: f64, y: f64| match turn {
            1 => (height - y, x),
            2 => (width - x, height - y),
            3 => (y, width - x),
            _ => (x, y),
        };
        let move_box = |left: f64, top: f64, right: f64, bottom: f64| {
            let (a, b) = (move_point(left, top), move_point(right, bottom));
            (a.0.min(b.0), a.1.min(b.1), a.0.max(b.0), a.1.max(b.1))
        };
        let (width, height) = if turn % 2 == 1 { (height, width) } else { (width, height) };
        let (mut glyphs, mut chars) = (Vec::new(), Vec::new());
        for mark in self.marks {
            let (left, top, right, bottom) = move_box(mark.left, mark.top, mark.right, mark.bottom);
            let (x, y) = move_point(mark.origin.x, mark.origin.y);
            let rest = mark.turn.map(|own| (own + 4 - turn) % 4);
            let rot = i32::from(rest.unwrap_or(0)) * 90;
            let is_upright = rest == Some(0);
            let count = mark.text.chars().count().max(1);
            for (index, ch) in mark.text.chars().enumerate() {
                let share = |k: usize| left + (right - left) * k as f64 / count as f64;
                glyphs.push(GlyphPart {
                    ch,
                    left: share(index),
                    right: share(index + 1),
                    top,
                    bottom,
                    font_size: Some(mark.size),
                    upright: is_upright,
                    rot,
                });
            }
            let (cos, sin) = match rest.unwrap_or(0) {
                1 => (0.0, -1.0),
                2 => (-1.0, 0.0),
                3 => (0.0, 1.0),
                _ => (1.0, 0.0),
            };
            let length = if rest.unwrap_or(0) % 2 == 1 { bottom - top } else { right - left };
            chars.push(TextChar {
                text: mark.text,
                left,
                right,
                top,
                bottom,
                transform: [mark.size * cos, mark.size * sin, mark.size * sin, -mark.size * cos, x, y],
                advance: [length * cos, length * sin],
                glyph_width: Some(length),
                font: 0,
                font_size: mark.size,
                rot,
                upright: is_upright,
                synthetic: false,
            });
        }
        let mut edges = Vec::with_capacity(self.edges.len());
        for edge in self.edges {
            let (left, top, right, bottom) = move_box(edge.left, edge.top, edge.right, edge.bottom);
            let orientation = if right - left > bottom - top { Orientation::Horizontal } else { Orientation::Vertical };
            edges.push(EdgePart { orientation, left, right, top, bottom });
        }
        let font = TextFont {
            name: String::new(),
            ascent: ASCENT_EM,
            descent: -DESCENT_EM,
            vertical: false,
            bold: false,
            italic: false,
        };
        (
            PagePart { width, height, glyphs, edges, norm_rotate: 0, graphics: Vec::new() },
            TextPage { width, height, fonts: vec![font], chars },
        )
    }
}

impl<'a> Device<'a> for Sheet {
    fn draw_path(&mut self, path: &BezPath, props: DrawProps<'a>, draw_mode: &DrawMode) {
        match draw_mode {
            DrawMode::Stroke(_) => self.stroked(path, props.transform),
            DrawMode::Fill(_) | DrawMode::FillAndStroke(..) => self.filled(path, props.transform),
            DrawMode::Invisible => {}
        }
    }

    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, draw_mode: &DrawMode) {
        let hidden = matches!(draw_mode, DrawMode::Invisible);
        for glyph in run.glyphs() {
            self.glyph(glyph, props.transform * glyph.transform(), hidden);
        }
    }

    fn draw_image(&mut self, _: Image<'a, '_>, _: ImageDrawProps<'a>) {
        self.facts.images += 1;
    }

    fn push_clip_path(&mut self, _: &ClipPath) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'a>>, _: BlendMode) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}
