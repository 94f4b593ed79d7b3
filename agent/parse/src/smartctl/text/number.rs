//! Numbers as smartctl prints them, in any locale.

use nom::character::complete::{char, digit1};
use nom::combinator::{map_res, opt, recognize};
use nom::{IResult, Parser};

/// Digits of a group between two thousands separators.
const GROUP_LEN: usize = 3;

/// Characters between two groups at most: a separator of which each byte became a character.
const SEPARATOR_LEN_MAX: usize = 3;

/// What separates thousands in the locales of the world: comma, dot, apostrophes, spaces; and
/// what they become on the way through programs that take them for another encoding.
fn is_separator(character: char) -> bool {
    matches!(character, ',' | '.' | '\'' | '`' | '_' | '?' | ' ') || !character.is_ascii()
}

/// A whole number, plain or grouped by the locale: `1000204`, `1,000,204`, `1 000 204`. A
/// separator belongs to the number only while groups of exactly three digits follow, all after
/// the same separator.
pub(super) fn grouped(input: &str) -> IResult<&str, u64> {
    let (mut rest, head) = digit1(input)?;
    let mut digits = String::new();
    if head.len() <= GROUP_LEN {
        let mut separator = None;
        while let Some((found, group, after)) = group(rest) {
            if separator.is_some_and(|separator| separator != found) {
                break;
            }
            separator = Some(found);
            if digits.is_empty() {
                digits.push_str(head);
            }
            digits.push_str(group);
            rest = after;
        }
    }
    let all = if digits.is_empty() { head } else { &digits };
    map_res(|_| Ok((rest, all)), str::parse).parse(input)
}

/// A separator, exactly three digits and what follows them.
fn group(input: &str) -> Option<(&str, &str, &str)> {
    let (separator, rest) =
        input.split_at_checked(input.find(|next: char| next.is_ascii_digit())?)?;
    let length = separator.chars().count();
    // Only characters that one was torn into come in numbers.
    let is_one = length == 1 || length <= SEPARATOR_LEN_MAX && !separator.is_ascii();
    if !is_one || !separator.chars().all(is_separator) {
        return None;
    }
    let (digits, after) = rest.split_at_checked(GROUP_LEN)?;
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    (whole && !after.starts_with(|next: char| next.is_ascii_digit()))
        .then_some((separator, digits, after))
}

/// A number with a sign or without.
pub(super) fn signed(input: &str) -> IResult<&str, i64> {
    map_res(recognize((opt(char('-')), digit1)), str::parse).parse(input)
}

/// A plain number.
pub(super) fn plain(input: &str) -> IResult<&str, u64> {
    map_res(digit1, str::parse).parse(input)
}

/// The whole of `text` as digits and nothing else.
pub(super) fn digits(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The whole of `text` as a plain number, or as a grouped one.
pub(super) fn whole(text: &str) -> Option<u64> {
    grouped(text.trim()).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, number)| number)
}

/// A number at the start of `text`, if nothing but a space, a bracket or a unit ends it.
pub(super) fn leading(text: &str) -> Option<u64> {
    let (rest, number) = plain(text.trim_start()).ok()?;
    let ended = rest.is_empty() || rest.starts_with([' ', '\t', '(', '[']);
    ended.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_by_any_locale() {
        for text in [
            "1000204886016",
            "1,000,204,886,016",
            "1.000.204.886.016",
            "1'000'204'886'016",
            "1’000’204’886’016",
            "1 000 204 886 016",
            "1\u{a0}000\u{a0}204\u{a0}886\u{a0}016",
            "1\u{202f}000\u{202f}204\u{202f}886\u{202f}016",
            "1\u{66c}000\u{66c}204\u{66c}886\u{66c}016",
            // No-break spaces that went through another encoding.
            "1Â\u{a0}000Â\u{a0}204Â\u{a0}886Â\u{a0}016",
            "1â€¯000â€¯204â€¯886â€¯016",
            "1\u{fffd}\u{fffd}000\u{fffd}\u{fffd}204\u{fffd}\u{fffd}886\u{fffd}\u{fffd}016",
            "1ÿ000ÿ204ÿ886ÿ016",
        ] {
            let (rest, number) = grouped(text).unwrap();
            assert_eq!((rest, number), ("", 1_000_204_886_016), "{text}");
        }
    }

    #[test]
    fn a_separator_without_its_group_ends_the_number() {
        assert_eq!(grouped("7,68 TB"), Ok((",68 TB", 7)));
        assert_eq!(grouped("1,234.567"), Ok((".567", 1234)));
        assert_eq!(grouped("3 [1.5 MB]"), Ok((" [1.5 MB]", 3)));
        assert_eq!(grouped("1,0000"), Ok((",0000", 1)));
        assert_eq!(grouped("3  500"), Ok(("  500", 3)));
        assert_eq!(whole("300,$00,000"), None);
        assert_eq!(whole("99999999999999999999"), None);
    }
}
