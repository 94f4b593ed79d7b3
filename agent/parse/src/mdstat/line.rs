//! The pieces of which the lines are made.
//!
//! One piece is what the kernel prints on one line. Old kernels, and copies in which line ends were
//! lost, have several on one.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1, take_until1, take_while, take_while1};
use nom::character::complete::{char, digit1, i64, one_of, satisfy, space0, space1};
use nom::combinator::{map_res, not, opt, recognize, rest, success, value, verify};
use nom::multi::{many0, many1, separated_list0};
use nom::number::complete::double;
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use super::{Array, Bitmap, Flag, Member, State, Sync};

/// What a line, or a part of one, says.
pub(super) enum Piece<'a> {
    Personalities(Vec<&'a str>),
    Unused(Vec<&'a str>),
    Array(Box<Array>),
    Size(Size<'a>),
    Busy(Sync),
    Bitmap(Bitmap),
    /// What old kernels print of themselves.
    Other,
}

/// The line that says how large an array is and which members are in sync.
#[derive(Default)]
pub(super) struct Size<'a> {
    pub(super) blocks: u64,
    pub(super) superblock: Option<&'a str>,
    pub(super) chunk: Option<u64>,
    pub(super) disks: Option<(u64, u64)>,
    pub(super) mask: Option<&'a str>,
}

/// The pieces at the beginning of a line, which has no spaces around it.
pub(super) fn pieces(line: &str) -> IResult<&str, Vec<Piece<'_>>> {
    many1(preceded(space0, piece)).parse(line)
}

fn piece(line: &str) -> IResult<&str, Piece<'_>> {
    alt((
        personalities.map(Piece::Personalities),
        unused.map(Piece::Unused),
        array.map(|array| Piece::Array(Box::new(array))),
        size.map(Piece::Size),
        running.map(Piece::Busy),
        waiting.map(Piece::Busy),
        bitmap.map(Piece::Bitmap),
        of_old_kernels.map(|()| Piece::Other),
    ))
    .parse(line)
}

fn number(input: &str) -> IResult<&str, u64> {
    map_res(digit1, str::parse).parse(input)
}

fn word(input: &str) -> IResult<&str, &str> {
    take_till1(char::is_whitespace)(input)
}

/// `Personalities : [raid1] [raid6]`; Linux 2.2 has a number before each name.
fn personalities(line: &str) -> IResult<&str, Vec<&str>> {
    let name = preceded(opt((digit1, space1)), take_till1(|c| matches!(c, ']' | '[')));
    let levels = separated_list0(space1, delimited(char('['), name, char(']')));
    preceded((tag("Personalities"), space0, char(':'), space0), levels).parse(line)
}

/// `unused devices: <none>`
fn unused(line: &str) -> IResult<&str, Vec<&str>> {
    let (line, _) = (tag("unused devices:"), space0).parse(line)?;
    let names = rest.map(|names: &str| names.split_whitespace().collect());
    alt((value(Vec::new(), tag("<none>")), names)).parse(line)
}

/// `read_ahead 1024 sectors`, `Event: 3`
fn of_old_kernels(line: &str) -> IResult<&str, ()> {
    let sectors = value((), (digit1, space1, tag("sectors")));
    let read_ahead = (tag("read_ahead"), space1, alt((sectors, value((), tag("not set")))));
    alt((value((), read_ahead), value((), (tag("Event:"), space1, digit1)))).parse(line)
}

/// The beginning of an array: its name, before the colon.
fn name(line: &str) -> IResult<&str, &str> {
    let name = take_till1(|c: char| c.is_whitespace() || c == ':');
    terminated(name, (space0, char(':'), space0)).parse(line)
}

/// `md0 : active (auto-read-only) raid1 sdb1[1] sda1[0](F)`
fn array(line: &str) -> IResult<&str, Array> {
    let (line, name) = name(line)?;
    let (line, state) = alt((
        value(State::Active, tag("active")),
        value(State::Inactive, tag("inactive")),
        value(State::Broken, tag("broken")),
    ))
    .parse(line)?;
    let (line, ()) = not(satisfy(char::is_alphanumeric)).parse(line)?;
    let read_only = alt((tag("(read-only)"), tag("(auto-read-only)")));
    let (line, read_only) = opt(preceded(space1, read_only)).parse(line)?;
    // A level is one word; a member always has brackets, and a size begins with a digit.
    let is_level = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.contains(['[', '(', ':', '='])
    };
    let (line, level) = opt(preceded(space1, verify(word, is_level))).parse(line)?;
    let (line, members) = many0(preceded(space1, member)).parse(line)?;
    // The states of other things are written in the same way: `State : active`.
    let is_array = level.is_some() || !members.is_empty() || name.starts_with("md");
    let is_array = is_array && (level.is_some() || state == State::Inactive);
    let (line, _) = verify(success(()), |()| is_array).parse(line)?;
    let array = Array {
        name: name.to_owned(),
        state: if read_only.is_some() { State::ReadOnly } else { state },
        level: level.map(str::to_owned),
        superblock: None,
        members,
        blocks: None,
        chunk: None,
        disks_total: None,
        disks_active: None,
        status_mask: None,
        sync: None,
        bitmap: None,
    };
    Ok((line, array))
}

/// `sda1[0](W)(F)`; old kernels have `[dev 08:01][0]` for a device without a name.
fn member(input: &str) -> IResult<&str, Member> {
    let named = take_till1(|c: char| c.is_whitespace() || c == '[');
    let unnamed = recognize((tag("[dev "), take_till(|c| c == ']'), char(']')));
    let slot = delimited(char('['), i64, char(']'));
    let letter = delimited(char('('), satisfy(|c| c.is_ascii_uppercase()), char(')'));
    let (input, (device, slot, letters)) =
        (alt((unnamed, named)), slot, many0(letter)).parse(input)?;
    let flags = letters
        .into_iter()
        .filter_map(|letter| match letter {
            'F' => Some(Flag::Faulty),
            'S' => Some(Flag::Spare),
            'W' => Some(Flag::WriteMostly),
            'J' => Some(Flag::Journal),
            'R' => Some(Flag::Replacement),
            _ => None,
        })
        .collect();
    Ok((input, Member { device: device.to_owned(), slot, flags }))
}

/// `7813735424 blocks super 1.2 level 6, 512k chunk, algorithm 2 [4/3] [U_UU]`
fn size(line: &str) -> IResult<&str, Size<'_>> {
    let (line, blocks) = terminated(number, (space1, tag("blocks"))).parse(line)?;
    let (line, items) = many0(preceded(space1, size_item)).parse(line)?;
    let mut size = Size { blocks, ..Size::default() };
    for item in items {
        match item {
            SizeItem::Superblock(it) => size.superblock = size.superblock.or(Some(it)),
            SizeItem::Chunk(kib) => size.chunk = size.chunk.or(Some(kib)),
            SizeItem::Disks(total, active) => size.disks = size.disks.or(Some((total, active))),
            SizeItem::Mask(mask) => size.mask = size.mask.or(Some(mask)),
            SizeItem::Other => {}
        }
    }
    Ok((line, size))
}

#[derive(Clone)]
enum SizeItem<'a> {
    Superblock(&'a str),
    Chunk(u64),
    Disks(u64, u64),
    Mask(&'a str),
    Other,
}

fn size_item(input: &str) -> IResult<&str, SizeItem<'_>> {
    let chunk = (one_of("kK"), space1, tag("chunk"), opt(char('s')), opt(char(',')));
    let disks = delimited(char('['), separated_pair(number, char('/'), number), char(']'));
    let mask = delimited(char('['), take_while1(|c| matches!(c, 'U' | '_')), char(']'));
    alt((
        preceded((tag("super"), space1), word).map(SizeItem::Superblock),
        terminated(number, chunk).map(SizeItem::Chunk),
        disks.map(|(total, active)| SizeItem::Disks(total, active)),
        mask.map(SizeItem::Mask),
        value(SizeItem::Other, alt((personal, unknown))),
    ))
    .parse(input)
}

/// What only one personality says.
fn personal(input: &str) -> IResult<&str, ()> {
    let comma = opt(char(','));
    let copies = alt((tag("near-copies"), tag("far-copies"), tag("offset-copies")));
    alt((
        value((), (tag("level"), space1, digit1, comma)),
        value((), (tag("algorithm"), space1, digit1)),
        value((), (digit1, space1, copies)),
        value((), (digit1, space1, tag("devices per set"))),
        value((), (digit1, one_of("kK"), space1, tag("rounding"))),
        // Of the personality `faulty`: `WriteTransient=3(5) nfaults=1`.
        value((), (alt((tag("nfaults"), errors)), char('='), digit1, opt(parenthesised))),
    ))
    .parse(input)
}

fn errors(input: &str) -> IResult<&str, &str> {
    recognize((alt((tag("Write"), tag("Read"))), take_while1(char::is_alphabetic))).parse(input)
}

/// A word of a personality to come. What begins with a bracket is a count or a mask, or the line is
/// broken; what stands before a colon or an equals sign is the beginning of something else.
fn unknown(input: &str) -> IResult<&str, ()> {
    let plain =
        |word: &&str| !word.contains(['[', ':', '=']) && !matches!(*word, "unused" | "read_ahead");
    let begins = alt((recognize((space0, one_of(":="))), recognize((space1, tag("blocks")))));
    value((), (verify(word, plain), not(begins))).parse(input)
}

fn parenthesised(input: &str) -> IResult<&str, &str> {
    delimited(char('('), digit1, char(')')).parse(input)
}

/// `[=>...]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec`
fn running(line: &str) -> IResult<&str, Sync> {
    let bar = delimited(char('['), take_while(|c| matches!(c, '=' | '>' | '.')), char(']'));
    let (line, _) = opt((bar, space0)).parse(line)?;
    let (line, action) = action(line)?;
    let equals = (space0, char('='), space0);
    let (line, percent) = delimited(equals, double, (space0, char('%'))).parse(line)?;
    let counts = separated_pair(number, char('/'), number);
    let counts = preceded(space0, delimited(char('('), counts, char(')')));
    let (line, counts) = opt(counts).parse(line)?;
    let (line, _) = opt(char(',')).parse(line)?;
    let finish = delimited(tag("finish="), double, tag("min"));
    let (line, finish_minutes) = opt(preceded(space0, finish)).parse(line)?;
    let speed = delimited(tag("speed="), i64, tag("K/sec"));
    let (line, speed_kib_s) = opt(preceded(space0, speed)).parse(line)?;
    let known = |number: &f64| number.is_finite() && *number >= 0.0;
    let sync = Sync {
        action,
        percent: Some(percent).filter(known),
        done: counts.map(|(done, _)| done),
        total: counts.map(|(_, total)| total),
        finish_minutes: finish_minutes.filter(known),
        speed_kib_s: speed_kib_s.and_then(|speed| u64::try_from(speed).ok()),
        pending: None,
    };
    Ok((line, sync))
}

/// `resync=DELAYED`
fn waiting(line: &str) -> IResult<&str, Sync> {
    let why = take_while1(|c: char| c.is_ascii_uppercase());
    let (line, (action, why)) = separated_pair(action, char('='), why).parse(line)?;
    let sync = Sync {
        action,
        percent: None,
        done: None,
        total: None,
        finish_minutes: None,
        speed_kib_s: None,
        pending: Some(why.to_owned()),
    };
    Ok((line, sync))
}

/// What is done; the kernel has two words for a recovery.
fn action(input: &str) -> IResult<&str, String> {
    let (input, word) = take_while1(|c: char| c.is_ascii_lowercase()).parse(input)?;
    Ok((input, if word == "recover" { "recovery" } else { word }.to_owned()))
}

/// `bitmap: 0/30 pages [0KB], 65536KB chunk, file: /md.bitmap`
fn bitmap(line: &str) -> IResult<&str, Bitmap> {
    let pages = terminated(separated_pair(number, char('/'), number), (space1, tag("pages [")));
    let (line, (used, total)) = preceded((tag("bitmap:"), space1), pages).parse(line)?;
    let (line, _) = (take_until1("]"), tag("],"), space1).parse(line)?;
    // The kernel counts in bytes below 1 KiB.
    let kib = terminated(number, tag("KB"));
    let bytes = terminated(number, tag("B")).map(|bytes| bytes / 1024);
    let (line, chunk_kib) = terminated(alt((kib, bytes)), (space1, tag("chunk"))).parse(line)?;
    let (line, _) = opt((tag(", file:"), rest)).parse(line)?;
    let chunk_kib = Some(chunk_kib).filter(|kib| *kib > 0);
    Ok((line, Bitmap { pages_used: used, pages_total: total, chunk_kib }))
}
