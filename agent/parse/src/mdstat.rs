//! Software RAID as `/proc/mdstat` shows it.
//!
//! Not here: what sysfs knows beyond it (error counts of members, array state words).

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till1, take_until1, take_while1};
use nom::character::complete::{char, digit1, one_of, space0, space1};
use nom::combinator::{all_consuming, map_res, opt, rest, value, verify};
use nom::multi::{many0, separated_list0};
use nom::number::complete::double;
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};
use serde::Serialize;

use crate::ParseError;

/// Bytes of `/proc/mdstat` that are read. An array of 27 members has about 1 KB.
pub const INPUT_LEN_MAX: usize = 1024 * 1024;
/// Arrays of one machine. The kernel's minors end at 512 without partitions.
pub const ARRAYS_MAX: usize = 512;
/// Members of one array; the version 1 superblock has room for 1,920.
pub const MEMBERS_MAX: usize = 2048;

/// All that `/proc/mdstat` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Mdstat {
    /// RAID levels the kernel can do now.
    pub personalities: Vec<String>,
    /// The arrays, in the order of the file.
    pub arrays: Vec<Array>,
    /// Devices that are in no array.
    pub unused_devices: Vec<String>,
}

/// One array.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Array {
    /// Name, such as `md0`.
    pub name: String,
    /// Whether it can be used.
    pub state: State,
    /// `raid1`, `raid5`, `linear` …; absent for containers and other inactive arrays.
    pub level: Option<String>,
    /// Kind of superblock: `1.2`, `external:imsm`, `non-persistent`; absent for `0.90`.
    #[serde(rename = "super")]
    pub superblock: Option<String>,
    /// Members, in the order of the file.
    pub members: Vec<Member>,
    /// Size in blocks of 1 KiB.
    pub blocks: Option<u64>,
    /// Chunk in KiB.
    pub chunk: Option<u64>,
    /// Members the array has when it is whole.
    pub disks_total: Option<u64>,
    /// Members in sync.
    pub disks_active: Option<u64>,
    /// One character per member: `U` in sync, `_` not.
    pub status_mask: Option<String>,
    /// What the array is busy with.
    pub sync: Option<Sync>,
    /// The write-intent bitmap.
    pub bitmap: Option<Bitmap>,
}

/// Whether an array can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Read and written.
    Active,
    /// Lost more members than it can bear; the kernel has given it up.
    Broken,
    /// Not started.
    Inactive,
    /// Read only, by choice or until the first write.
    ReadOnly,
}

/// One member of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Block device, such as `sda1`.
    pub device: String,
    /// The number in brackets.
    pub slot: u64,
    /// What is special about it.
    pub flags: Vec<Flag>,
}

/// What is special about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flag {
    /// Thrown out (`F`).
    Faulty,
    /// Waiting for another to fail (`S`).
    Spare,
    /// Read only when no other can be (`W`).
    WriteMostly,
    /// Holds the journal (`J`).
    Journal,
    /// Is to take another's place (`R`).
    Replacement,
}

/// What an array is busy with, or waits to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sync {
    /// `resync`, `recovery`, `check`, `reshape`.
    pub action: String,
    /// Done, in percent.
    pub percent: Option<f64>,
    /// Done, in the unit of `total`.
    pub done: Option<u64>,
    /// To be done in all: blocks of 1 KiB of one member.
    pub total: Option<u64>,
    /// Minutes left, as the kernel estimates.
    pub finish_minutes: Option<f64>,
    /// Speed in KiB a second.
    pub speed_kib_s: Option<u64>,
    /// `DELAYED`, `PENDING` or `REMOTE` while it waits.
    pub pending: Option<String>,
}

/// The write-intent bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bitmap {
    /// Pages in memory.
    pub pages_used: u64,
    /// Pages in all.
    pub pages_total: u64,
    /// KiB of the array that one bit stands for.
    pub chunk_kib: u64,
}

/// What this input is called in errors.
const WHAT: &str = "mdstat";

/// What `text`, the content of `/proc/mdstat`, says.
///
/// # Errors
/// A line that is none of those the md driver prints, named by its number; or more arrays or
/// members than there can be.
pub fn parse(text: &str) -> Result<Mdstat, ParseError> {
    if text.len() > INPUT_LEN_MAX {
        let (count, max) = (text.len(), INPUT_LEN_MAX);
        return Err(ParseError::Limit { what: "bytes of mdstat", count, max });
    }
    let mut found = Mdstat::default();
    let mut is_mdstat = false;
    for (number, whole_line) in text.lines().enumerate() {
        let line = whole_line.trim();
        if line.is_empty() {
            continue;
        }
        let (_, line) = all_consuming(any_line)
            .parse(line)
            .map_err(|_| ParseError::line(WHAT, number + 1, whole_line))?;
        is_mdstat = true;
        match line {
            Line::Personalities(names) => {
                found.personalities = names.into_iter().map(str::to_owned).collect();
            }
            Line::Unused(names) => {
                found.unused_devices = names.into_iter().map(str::to_owned).collect();
            }
            Line::Array(array) => found.push(*array)?,
            Line::ReadAhead => {}
            // The other lines are about the array above them.
            Line::Size(_) | Line::Busy(_) | Line::Bitmap(_) => match found.arrays.last_mut() {
                Some(array) => array.take(line),
                None => return Err(ParseError::line(WHAT, number + 1, whole_line)),
            },
        }
    }
    match is_mdstat {
        true => Ok(found),
        false => Err(ParseError::Missing { what: WHAT, missing: "line of personalities" }),
    }
}

impl Mdstat {
    fn push(&mut self, array: Array) -> Result<(), ParseError> {
        let limits = [
            ("md arrays", self.arrays.len() + 1, ARRAYS_MAX),
            ("members of an md array", array.members.len(), MEMBERS_MAX),
        ];
        for (what, count, max) in limits {
            if count > max {
                return Err(ParseError::Limit { what, count, max });
            }
        }
        self.arrays.push(array);
        Ok(())
    }
}

impl Array {
    fn take(&mut self, line: Line<'_>) {
        match line {
            Line::Size(size) => {
                self.blocks = Some(size.blocks);
                self.superblock = size.superblock.map(str::to_owned);
                self.chunk = size.chunk;
                if let Some((total, active)) = size.disks {
                    self.disks_total = Some(total);
                    self.disks_active = Some(active);
                }
                self.status_mask = size.mask.map(str::to_owned);
            }
            Line::Busy(sync) => self.sync = Some(sync),
            Line::Bitmap(bitmap) => self.bitmap = Some(bitmap),
            _ => {}
        }
    }
}

/// A line, without the spaces around it.
enum Line<'a> {
    Personalities(Vec<&'a str>),
    Unused(Vec<&'a str>),
    Array(Box<Array>),
    Size(Size<'a>),
    Busy(Sync),
    Bitmap(Bitmap),
    ReadAhead,
}

/// The line that says how large an array is and which members are in sync.
#[derive(Default)]
struct Size<'a> {
    blocks: u64,
    superblock: Option<&'a str>,
    chunk: Option<u64>,
    disks: Option<(u64, u64)>,
    mask: Option<&'a str>,
}

fn any_line(line: &str) -> IResult<&str, Line<'_>> {
    alt((
        personalities.map(Line::Personalities),
        unused.map(Line::Unused),
        array.map(|array| Line::Array(Box::new(array))),
        size.map(Line::Size),
        running.map(Line::Busy),
        waiting.map(Line::Busy),
        bitmap.map(Line::Bitmap),
        (tag("read_ahead "), rest).map(|_| Line::ReadAhead),
    ))
    .parse(line)
}

fn number(input: &str) -> IResult<&str, u64> {
    map_res(digit1, str::parse).parse(input)
}

fn word(input: &str) -> IResult<&str, &str> {
    take_till1(char::is_whitespace)(input)
}

/// `Personalities : [raid1] [raid6]`
fn personalities(line: &str) -> IResult<&str, Vec<&str>> {
    let level = delimited(char('['), take_till1(|c| c == ']'), char(']'));
    let levels = separated_list0(space1, level);
    preceded((tag("Personalities"), space0, char(':'), space0), levels).parse(line)
}

/// `unused devices: <none>`
fn unused(line: &str) -> IResult<&str, Vec<&str>> {
    let (after, names) = preceded(tag("unused devices:"), rest).parse(line)?;
    Ok((after, names.split_whitespace().filter(|&name| name != "<none>").collect()))
}

/// `md0 : active (auto-read-only) raid1 sdb1[1] sda1[0](F)`
fn array(line: &str) -> IResult<&str, Array> {
    let (line, name) = terminated(word, tag(" : ")).parse(line)?;
    let (line, state) = alt((
        value(State::Active, tag("active")),
        value(State::Inactive, tag("inactive")),
        value(State::Broken, tag("broken")),
    ))
    .parse(line)?;
    let read_only = alt((tag("(read-only)"), tag("(auto-read-only)")));
    let (line, read_only) = opt(preceded(space1, read_only)).parse(line)?;
    // A level has no brackets, a member always has.
    let is_level = |word: &&str| !word.contains(['[', '(']);
    let (line, level) = opt(preceded(space1, verify(word, is_level))).parse(line)?;
    let (line, members) = many0(preceded(space1, member)).parse(line)?;
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

/// `sda1[0](W)(F)`
fn member(input: &str) -> IResult<&str, Member> {
    let device = take_till1(|c: char| c.is_whitespace() || c == '[');
    let slot = delimited(char('['), number, char(']'));
    let flag = delimited(char('('), one_of("FSWJR"), char(')'));
    let (input, (device, slot, letters)) = (device, slot, many0(flag)).parse(input)?;
    let flags = letters
        .into_iter()
        .map(|letter| match letter {
            'F' => Flag::Faulty,
            'S' => Flag::Spare,
            'W' => Flag::WriteMostly,
            'J' => Flag::Journal,
            _ => Flag::Replacement,
        })
        .collect();
    Ok((input, Member { device: device.to_owned(), slot, flags }))
}

/// `7813735424 blocks super 1.2 level 6, 512k chunk, algorithm 2 [4/3] [U_UU]`
fn size(line: &str) -> IResult<&str, Size<'_>> {
    let (mut line, blocks) = terminated(number, tag(" blocks")).parse(line)?;
    let mut size = Size { blocks, ..Size::default() };
    while !line.is_empty() {
        let (after, item) = preceded(space1, size_item).parse(line)?;
        match item {
            SizeItem::Superblock(superblock) => size.superblock = Some(superblock),
            SizeItem::Chunk(kib) => size.chunk = Some(kib),
            SizeItem::Disks(total, active) => size.disks = Some((total, active)),
            SizeItem::Mask(mask) => size.mask = Some(mask),
            SizeItem::Other => {}
        }
        line = after;
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
    // What only one personality says (`level 6,`, `2 near-copies`, `0k rounding`) is passed
    // over; what begins with a bracket is a count or a mask, or the line is broken.
    let other = verify(word, |word: &str| !word.starts_with('['));
    alt((
        preceded((tag("super"), space1), word).map(SizeItem::Superblock),
        terminated(number, chunk).map(SizeItem::Chunk),
        disks.map(|(total, active)| SizeItem::Disks(total, active)),
        mask.map(SizeItem::Mask),
        value(SizeItem::Other, other),
    ))
    .parse(input)
}

/// `[=>...]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec`
fn running(line: &str) -> IResult<&str, Sync> {
    let bar = delimited(char('['), take_while1(|c| matches!(c, '=' | '>' | '.')), char(']'));
    let (line, _) = (bar, space1).parse(line)?;
    let (line, action) = action(line)?;
    let equals = (space0, char('='), space0);
    let (line, percent) = delimited(equals, double, char('%')).parse(line)?;
    let counts = separated_pair(number, char('/'), number);
    let (line, (done, total)) =
        preceded(space1, delimited(char('('), counts, char(')'))).parse(line)?;
    let finish = delimited(tag("finish="), double, tag("min"));
    let (line, finish_minutes) = opt(preceded(space1, finish)).parse(line)?;
    let speed = delimited(tag("speed="), number, tag("K/sec"));
    let (line, speed_kib_s) = opt(preceded(space1, speed)).parse(line)?;
    let sync = Sync {
        action: action.to_owned(),
        percent: Some(percent).filter(|percent| percent.is_finite()),
        done: Some(done),
        total: Some(total),
        finish_minutes: finish_minutes.filter(|minutes| minutes.is_finite()),
        speed_kib_s,
        pending: None,
    };
    Ok((line, sync))
}

/// `resync=DELAYED`
fn waiting(line: &str) -> IResult<&str, Sync> {
    let why = alt((tag("DELAYED"), tag("PENDING"), tag("REMOTE")));
    let (line, (action, why)) = separated_pair(action, char('='), why).parse(line)?;
    let sync = Sync {
        action: action.to_owned(),
        percent: None,
        done: None,
        total: None,
        finish_minutes: None,
        speed_kib_s: None,
        pending: Some(why.to_owned()),
    };
    Ok((line, sync))
}

fn action(input: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_ascii_lowercase())(input)
}

/// `bitmap: 0/30 pages [0KB], 65536KB chunk, file: /md.bitmap`
fn bitmap(line: &str) -> IResult<&str, Bitmap> {
    let pages = terminated(separated_pair(number, char('/'), number), tag(" pages ["));
    let (line, (used, total)) = preceded(tag("bitmap: "), pages).parse(line)?;
    let (line, _) = (take_until1("]"), tag("], ")).parse(line)?;
    // The kernel counts in bytes below 1 KiB.
    let kib = terminated(number, tag("KB"));
    let bytes = terminated(number, tag("B")).map(|bytes| bytes / 1024);
    let (line, chunk_kib) = terminated(alt((kib, bytes)), tag(" chunk")).parse(line)?;
    let (line, _) = opt((tag(", file:"), rest)).parse(line)?;
    Ok((line, Bitmap { pages_used: used, pages_total: total, chunk_kib }))
}
