//! Rows of the ATA attribute table, in its old and in its brief form.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while1};
use nom::character::complete::{hex_digit1, space0, space1};
use nom::combinator::{map, map_opt, map_res, opt, value, verify};
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use super::number;
use crate::smartctl::{Attribute, AttributeFlags, Raw};

/// Highest number of an attribute: one byte.
const ID_MAX: u64 = 255;

/// Width of the column of names.
const NAME_LEN: usize = 24;

/// Longest name that a drive database may give.
const NAME_LEN_MAX: usize = 64;

/// The letters of the brief form, from the lowest bit on. A dash stands for a bit that is not
/// set; a seventh place has `+` when there are bits without a letter.
const FLAG_LETTERS: [char; 6] = ['P', 'O', 'S', 'R', 'C', 'K'];

/// One row, or nothing when the line is none.
pub(super) fn row(line: &str) -> Option<Attribute> {
    let (_, attribute) = fields(line).ok()?;
    Some(attribute)
}

fn fields(line: &str) -> IResult<&str, Attribute> {
    let id = verify(alt((hexadecimal, number::plain)), |&id| (1..=ID_MAX).contains(&id));
    let (rest, id) = delimited(space0, id, space1).parse(line)?;
    let (rest, (name, (flags, old))) = name_and_flags(rest)?;
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
            .then(|| Raw { value: number::digits(raw), string: Some(raw.to_owned()) }),
    };
    Ok(("", attribute))
}

fn word(input: &str) -> IResult<&str, &str> {
    take_while1(|character: char| !character.is_whitespace())(input)
}

/// `0x64`: with `-f hex` numbers and values are so.
fn hexadecimal(input: &str) -> IResult<&str, u64> {
    let digits = preceded(tag("0x"), hex_digit1);
    map_res(digits, |digits| u64::from_str_radix(digits, 16)).parse(input)
}

/// The name and the flags, which stand side by side after a name as long as its column.
fn name_and_flags(input: &str) -> IResult<&str, (&str, (AttributeFlags, bool))> {
    let apart = separated_pair(word, space1, terminated(flags, space1));
    let together = |input| {
        let (rest, both) = terminated(word, space1).parse(input)?;
        let (name, flags) = verify_split(both).ok_or_else(|| failure(input))?;
        Ok((rest, (name, flags)))
    };
    // Names of one's own drive database may have spaces.
    let spaced = |input| {
        let (name, rest) = spaced_name(input).ok_or_else(|| failure(input))?;
        let (rest, flags) = terminated(flags, space1).parse(rest)?;
        Ok((rest, (name, flags)))
    };
    alt((apart, together, spaced)).parse(input)
}

fn failure(input: &str) -> nom::Err<nom::error::Error<&str>> {
    nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify))
}

/// A name of several words, up to the one that is flags, and what follows it.
fn spaced_name(input: &str) -> Option<(&str, &str)> {
    if !input.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let at = input
        .match_indices(' ')
        .map(|(at, _)| at + 1)
        .take_while(|&at| at <= NAME_LEN_MAX)
        .find(|&at| {
            let word = input.get(at..).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
            flags(word).is_ok_and(|(rest, _)| rest.is_empty())
        })?;
    let (name, rest) = input.split_at_checked(at)?;
    let name = name.trim_end();
    name.contains(' ').then_some((name, rest))
}

/// A name of at least the length of its column, and the flags that follow it without a space.
fn verify_split(both: &str) -> Option<(&str, (AttributeFlags, bool))> {
    (6..=7).rev().find_map(|length| {
        let at = both.len().checked_sub(length).filter(|&at| at >= NAME_LEN)?;
        let (name, letters) = both.split_at_checked(at)?;
        let (_, flags) = flags(letters).ok().filter(|(rest, _)| rest.is_empty())?;
        Some((name, flags))
    })
}

/// `100`, or `---` where the value is not known.
fn normalised(input: &str) -> IResult<&str, Option<u64>> {
    let number = alt((hexadecimal, number::plain));
    let known = map_opt(number, |value| (value <= ID_MAX).then_some(Some(value)));
    alt((known, value(None, (tag("---"), opt(tag("-")))))).parse(input)
}

/// The flags, and whether they are in the old form.
fn flags(input: &str) -> IResult<&str, (AttributeFlags, bool)> {
    let old = map(hexadecimal, |bits| (flags_of(bits, false), true));
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

/// The columns TYPE and UPDATED, which say nothing that FLAG does not. UPDATED came with 5.20.
fn kind_and_updated(input: &str) -> IResult<&str, ()> {
    let (rest, _) = terminated(alt((tag("Pre-fail"), tag("Old_age"))), space1).parse(input)?;
    map(opt(terminated(alt((tag("Always"), tag("Offline"))), space1)), |_| ()).parse(rest)
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
    fn forms_that_options_and_old_versions_make() {
        for line in [
            "  9 Power_On_Minutes        0x0032   100   099   000    Old_age   Always       -       1234h+05m",
            // Of version 5.1, which had no column UPDATED.
            "  9 Power_On_Minutes        0x0032   100   099   000    Old_age  -       1234h+05m",
            // -f hex, -f hex,id -f brief
            "0x09 Power_On_Minutes        0x0032   0x64  0x63  0x00   Old_age   Always       -       1234h+05m",
            "0x09 Power_On_Minutes        -O--CK   100   099   000    -    1234h+05m",
            "9 Power_On_Minutes -O--CK 100 99 0 - 1234h+05m",
        ] {
            let row = row(line).unwrap();
            assert_eq!((row.id, row.name.as_deref()), (Some(9), Some("Power_On_Minutes")));
            assert_eq!(
                (row.value, row.worst, row.thresh),
                (Some(100), Some(99), Some(0)),
                "{line}"
            );
            assert_eq!(row.flags.unwrap().string.as_deref(), Some("-O--CK "));
            assert_eq!(row.raw.unwrap().string.as_deref(), Some("1234h+05m"));
        }
        let hex = row("0x05 Name 0x0033   ----  0x64  ----   Pre-fail  Always       FAILING_NOW 7")
            .unwrap();
        assert_eq!((hex.value, hex.worst, hex.thresh), (None, Some(100), None));
        assert_eq!(hex.when_failed.as_deref(), Some("now"));
        for line in [
            "231 Remaining_Lifetime_Perc_1PO--C-+  100   100   005    -    -5",
            "231 Remaining_Lifetime_Perc_10xff13   100   100   005    Pre-fail  Always       -       -5",
        ] {
            let row = row(line).unwrap();
            assert_eq!(row.name.as_deref(), Some("Remaining_Lifetime_Perc_1"));
            assert_eq!(row.flags.unwrap().string.as_deref(), Some("PO--C-+"));
            assert_eq!(row.raw.unwrap().value, None, "a sign is no plain number");
        }
    }

    /// Names of one's own drive database, and those that were cut at their column.
    #[test]
    fn a_name_may_have_spaces() {
        for (line, name) in [
            (
                "202 Lifetime left (percent)  0x0031   098   098   000    Pre-fail  Offline      -       98",
                "Lifetime left (percent)",
            ),
            ("170 Spare Blocks PO--CK   100   100   010    -    7", "Spare Blocks"),
        ] {
            let row = row(line).unwrap();
            assert_eq!(row.name.as_deref(), Some(name));
            assert_eq!(row.flags.unwrap().prefailure, Some(true));
        }
    }

    /// What smartctl makes of six raw bytes, by the formats its drive database knows.
    #[test]
    fn raw_strings_stay_as_they_are() {
        for (raw, value) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("10 0 0 255 1 2", None),
            ("0 0 0", None),
            ("512 (0 3)", None),
            ("4212 (Average 4300)", None),
            ("0x0631034c0631", None),
            ("12/345", None),
            ("455134/455142", None),
            ("34.5", None),
            ("-4", None),
            ("+4", None),
            ("37 (Min/Max -2/55)", None),
            ("40 (Min/Max 39/42 #1)", None),
            ("16415h+51m+54.761s", None),
            ("32293h+50m+44s", None),
            ("Head 3", None),
            ("-", None),
        ] {
            let row = row(&format!("  5 Name PO--CK   100   100   010    -    {raw}")).unwrap();
            let found = row.raw.unwrap();
            assert_eq!((found.string.as_deref(), found.value), (Some(raw), value));
        }
    }

    #[test]
    fn a_line_that_is_no_row_gives_none() {
        for line in [
            "  0 Zero 0x0033 100 100 010 Pre-fail Always - 0",
            "256 Large 0x0033 100 100 010 Pre-fail Always - 0",
            "  5 Name 0x0033 100 100",
            "  5 Name PX--CK 100 100 000 - 0",
            "  5 Two words PX--CK 100 100 000 - 0",
            "0x0001  2            0  Command failed due to ICRC error",
            "    1        0        0  Not_testing",
            "",
        ] {
            assert_eq!(row(line), None, "{line}");
        }
    }
}
