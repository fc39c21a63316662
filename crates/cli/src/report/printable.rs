//! Text from outside, as it may stand on a terminal: the name of a file can hold anything.

use std::borrow::Cow;

use unicode_width::UnicodeWidthStr as _;

/// `text` on one line, without what moves the cursor, colours, or turns the direction of writing.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_order) {
        let escaped = |c: char| if is_order(c) { c.escape_default().to_string() } else { c.to_string() };
        text.chars().map(escaped).collect::<String>().into()
    } else {
        text.into()
    }
}

/// Whether it is obeyed, and not shown.
fn is_order(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The columns that `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text`, and spaces up to `columns`.
pub(crate) fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(printable("日本 é\\,x"), "日本 é\\,x");
        assert_eq!(printable("a\nb\r\x1b[31m\u{9b}\u{202e}\t"), "a\\nb\\r\\u{1b}[31m\\u{9b}\\u{202e}\\t");
    }

    #[test]
    fn columns_are_counted_and_not_letters() {
        assert_eq!((width("日本"), width("e\u{301}"), width("ab")), (4, 1, 2));
        assert_eq!((padded("日本", 6), padded("abc", 2)), ("日本  ".to_owned(), "abc".to_owned()));
    }
}
