//! Pieces of SVG and HTML: escaped text, colours, markers.

use std::fmt::{self, Write as _};

/// Text between tags and in attributes.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            c if c.is_control() => f.write_char(' '),
            c => f.write_char(c),
        })
    }
}

/// Whose figure it is: that decides how it is drawn. The number tells those of one kind apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Ours(usize),
    Peer(usize),
    Baseline(usize),
    /// A figure of the talk.
    Talk(usize),
    /// The kernel's code, measured elsewhere.
    Kernel(usize),
}

/// Colours of each side; more contenders differ by their markers.
const COLOURS: usize = 4;

impl Style {
    /// The class that the style sheet gives a colour and a dash.
    pub(super) fn class(self) -> String {
        match self {
            Self::Ours(n) => format!("ours{}", n % COLOURS),
            Self::Peer(n) => format!("peer{}", n % COLOURS),
            Self::Baseline(n) => format!("base{}", n % COLOURS),
            Self::Talk(n) => format!("talk talk{}", n % 2),
            Self::Kernel(n) => format!("kernel kernel{}", n % 2),
        }
    }

    /// Figures that this run did not measure.
    pub(super) fn is_reference(self) -> bool {
        matches!(self, Self::Talk(_) | Self::Kernel(_))
    }

    /// Whether both are of one side.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    fn number(self) -> usize {
        match self {
            Self::Ours(n) | Self::Peer(n) | Self::Baseline(n) => n + n / COLOURS,
            Self::Talk(n) => n + 3,
            Self::Kernel(n) => n,
        }
    }
}

/// A point's mark around (`x`, `y`); `title` is shown when it is pointed at. Ours are filled, peers hollow.
pub(super) fn marker(out: &mut String, style: Style, x: f64, y: f64, title: &str) {
    let filled = if matches!(style, Style::Ours(_)) { "mark filled" } else { "mark" };
    let shape = match style.number() % 4 {
        0 => format!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5""#),
        1 => format!(r#"<rect x="{:.1}" y="{:.1}" width="7" height="7""#, x - 3.5, y - 3.5),
        2 => format!(r#"<path d="M{x:.1} {:.1}l4.5 8h-9z""#, y - 5.0),
        _ => format!(r#"<path d="M{x:.1} {:.1}l5 5l-5 5l-5 -5z""#, y - 5.0),
    };
    let _ = write!(out, r#"{shape} class="{filled} {}"><title>{}</title></{}>"#, style.class(), Escaped(title), {
        shape[1..].split(' ').next().unwrap_or_default()
    });
}

/// A straight line.
pub(super) fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = write!(out, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
}

/// Text whose `anchor` (`start`, `middle`, `end`) is at `x`, its base line at `y`.
pub(super) fn text(out: &mut String, class: &str, anchor: &str, (x, y): (f64, f64), text: &str) {
    let text = Escaped(text);
    let _ = write!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#);
}

/// Opens a drawing of this size; it shrinks with the page. `label` is read to those who cannot see it.
pub(super) fn open(width: f64, height: f64, label: &str) -> String {
    let label = Escaped(label);
    format!(r#"<svg viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{label}">"#)
}

/// Lines of at most `width` characters, broken between words.
pub(super) fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_an_attribute_or_open_a_tag() {
        assert_eq!(Escaped("a<b & \"c\">\u{7}").to_string(), "a&lt;b &amp; &quot;c&quot;&gt; ");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("longerthanwidth", 4), ["longerthanwidth"]);
    }
}
