//! What a disk calls itself, made fit to be shown.
//!
//! Firmware may say anything, and what it says goes far: into labels, a terminal, a notification, a
//! page. So it is written out once, where it enters. Reports keep what was said as it was said.

use std::borrow::Cow;

/// Whether a character shows nothing itself and changes how others show: controls, marks that turn
/// the direction of writing, blanks without width, ends of lines and paragraphs, tags.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` with characters written out that show nothing themselves (`\u{202e}`, `\n`), so that it
/// can neither steer a terminal nor turn what stands beside it. What was two names stays two, and
/// what was written out stays as it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unseen) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unseen(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_show_nothing_are_written_out() {
        for unseen in
            ['\u{202e}', '\u{2066}', '\u{200b}', '\u{feff}', '\u{9b}', '\u{2028}', '\u{e0041}']
        {
            let text = format!("WDC{unseen}DER");
            let shown = printable(&text);
            assert_eq!(shown, format!("WDC{}DER", unseen.escape_unicode()));
            assert_eq!(printable(&shown), shown, "once");
        }
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        for plain in ["", "WDC WD40EFRX-68N32N0", "Größe 端末 ±°", r"a\b"] {
            assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain), "{plain}");
        }
    }
}
