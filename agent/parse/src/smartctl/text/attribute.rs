//! Rows of the ATA attribute table, in its old and in its brief form.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::{hex_digit1, space0, space1};
use nom::combinator::{map, map_opt, map_res, opt, value, verify};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

use super::number;
use crate::smartctl::{Attribute, AttributeFlags, Raw};

/// Highest number of an attribute: one byte.
const ID_MAX: u64 = 255;

/// The letters of the brief form, from the lowest bit on. A dash stands for a bit that is not
/// set; a seventh place has `+` when there are bits without a letter.
const FLAG_LETTERS: [char; 6] = ['P', 'O', 'S', 'R', 'C', 'K'];

/// One row, or nothing when the line is none.
pub(super) fn row(line: &str) -> Option<Attribute> {
    let (_, attribute) = fields(line).ok()?;
    Some(attribute)
}

fn fields(line: &str) -> IResult<&str, Attribute> {
    let id = verify(number::plain, |&id| (1..=ID_MAX).contains(&id));
    let (rest, id) = delimited(space0, id, space1).parse(line)?;
    let (rest, name) = terminated(word, space1).parse(rest)?;
    let (rest, (flags, old)) = terminated(flags, space1).parse(rest)?;
    let (rest, value) = terminated(normalised, space1).parse(rest)?;
    let (rest, worst) = terminated(normalised, space1).parse(rest)?;
    let (rest, thresh) = terminated(normalised, space1).parse(rest)?;
    let (rest, ()) = if old { kind_and_updated(rest)? } else { (rest, ()) };
    let (rest, failed) = when_failed(rest)?;
    let raw = rest.trim();
    let attribute = Attribute {
        id: Some(id),
        name: Some(name.to_owned()),
        value,
        worst,
        thresh,
        when_failed: Some(failed.to_owned()),
        flags: Some(flags),
        raw: (!raw.is_empty())
            .then(|| Raw { value: raw.parse().ok(), string: Some(raw.to_owned()) }),
    };
    Ok(("", attribute))
}

fn word(input: &str) -> IResult<&str, &str> {
    take_while1(|character: char| !character.is_whitespace())(input)
}

/// `100`, or `---` where the value is not known.
fn normalised(input: &str) -> IResult<&str, Option<u64>> {
    let known = map_opt(number::plain, |value| (value <= ID_MAX).then_some(Some(value)));
    alt((known, value(None, tag("---")))).parse(input)
}

/// The flags, and whether they are in the old form.
fn flags(input: &str) -> IResult<&str, (AttributeFlags, bool)> {
    let old = map_res(preceded(tag("0x"), hex_digit1), |digits| {
        u64::from_str_radix(digits, 16).map(|bits| (flags_of(bits, false), true))
    });
    let brief = map_opt(word, |letters| letter_flags(letters).map(|flags| (flags, false)));
    alt((old, brief)).parse(input)
}

fn letter_flags(letters: &str) -> Option<AttributeFlags> {
    let mut places = letters.chars();
    let mut bits = 0;
    for (bit, letter) in FLAG_LETTERS.iter().enumerate() {
        match places.next()? {
            '-' => {}
            set if set == *letter => bits |= 1 << bit,
            _ => return None,
        }
    }
    match places.next() {
        None => Some(flags_of(bits, false)),
        // There are more bits, but not which: the number is not known then.
        Some('+') if places.next().is_none() => {
            Some(AttributeFlags { value: None, ..flags_of(bits, true) })
        }
        Some(_) => None,
    }
}

fn flags_of(bits: u64, more: bool) -> AttributeFlags {
    let is_set = |bit: usize| bits & (1 << bit) != 0;
    let mut string: String = FLAG_LETTERS
        .iter()
        .enumerate()
        .map(|(bit, &letter)| if is_set(bit) { letter } else { '-' })
        .collect();
    string.push(if more || bits >> FLAG_LETTERS.len() != 0 { '+' } else { ' ' });
    AttributeFlags {
        value: Some(bits),
        string: Some(string),
        prefailure: Some(is_set(0)),
        updated_online: Some(is_set(1)),
        performance: Some(is_set(2)),
        error_rate: Some(is_set(3)),
        event_count: Some(is_set(4)),
        auto_keep: Some(is_set(5)),
    }
}

/// The columns TYPE and UPDATED, which say nothing that FLAG does not.
fn kind_and_updated(input: &str) -> IResult<&str, ()> {
    let (rest, _) = terminated(alt((tag("Pre-fail"), tag("Old_age"))), space1).parse(input)?;
    map(terminated(alt((tag("Always"), tag("Offline"))), space1), |_| ()).parse(rest)
}

/// The column WHEN_FAILED or FAIL, and the spaces after it. Columns that lost their alignment
/// may hold a raw value of the form `-3`, so a lone dash must end there.
fn when_failed(input: &str) -> IResult<&str, &'static str> {
    let words = alt((
        value("now", alt((tag("FAILING_NOW"), tag("NOW")))),
        value("past", alt((tag("In_the_past"), tag("Past")))),
        value("", tag("-")),
    ));
    terminated(words, opt(space1)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_form() {
        let row = row("190 Airflow_Temperature_Cel 0x0022   060   039   045    Old_age   Always   In_the_past 40 (Min/Max 39/42 #1)").unwrap();
        assert_eq!(
            (row.id, row.value, row.worst, row.thresh),
            (Some(190), Some(60), Some(39), Some(45))
        );
        assert_eq!(row.when_failed.as_deref(), Some("past"));
        let raw = row.raw.unwrap();
        assert_eq!((raw.value, raw.string.as_deref()), (None, Some("40 (Min/Max 39/42 #1)")));
        let flags = row.flags.unwrap();
        assert_eq!((flags.prefailure, flags.updated_online), (Some(false), Some(true)));
        assert_eq!(flags.string.as_deref(), Some("-O---K "));
    }

    #[test]
    fn the_brief_form() {
        let row = row("  5 Reallocated_Sector_Ct   PO--CK+  100   100   ---    NOW  0").unwrap();
        assert_eq!((row.thresh, row.when_failed.as_deref()), (None, Some("now")));
        let flags = row.flags.unwrap();
        assert_eq!((flags.value, flags.string.as_deref()), (None, Some("PO--CK+")));
        assert_eq!(row.raw.unwrap().value, Some(0));
    }

    #[test]
    fn a_line_that_is_no_row_gives_none() {
        for line in [
            "  0 Zero 0x0033 100 100 010 Pre-fail Always - 0",
            "256 Large 0x0033 100 100 010 Pre-fail Always - 0",
            "  5 Name 0x0033 100 100",
            "  5 Name PX--CK 100 100 000 - 0",
            "0x0001  2            0  Command failed due to ICRC error",
            "    1        0        0  Not_testing",
            "",
        ] {
            assert_eq!(row(line), None, "{line}");
        }
    }
}
