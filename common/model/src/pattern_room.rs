//! What the patterns of one request may cost, all together.
//!
//! A pattern of a few bytes may take a thousand times as much once it is compiled, so each is
//! weighed by its syntax before anything is made of it. The weights are those of compiled programs,
//! rounded up; what it takes to compile one grows with them.

use regex_syntax::ast::{
    Ast, ClassBracketed, ClassSet, ClassSetItem, RepetitionKind, RepetitionRange,
};

/// Bytes that the compiled patterns of one request may take: room for hundreds of ordinary ones,
/// and a fraction of a second to compile them.
const ROOM_BYTES: usize = 16 * 1024 * 1024;

/// The least that a pattern counts which is compiled to a program, whatever is in it.
const PROGRAM_BYTES: usize = 32 * 1024;

/// Bytes of an alternative that is told apart.
const ALTERNATIVE_BYTES: usize = 64;

/// Bytes of a character, or of a group or a place around others.
const CHARACTER_BYTES: usize = 64;

/// Bytes of a class of characters that lie apart in UTF-8, such as `.` and `[^a]`.
const WIDE_BYTES: usize = 1024;

/// Bytes of a class out of Unicode's tables: `\pL` has 650 ranges.
const TABLE_BYTES: usize = 128 * 1024;

/// What is left for the patterns of one request: a query, or all selectors of a look-up.
#[derive(Debug, Clone)]
pub struct PatternRoom {
    left_bytes: usize,
}

/// There is no room for another pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the patterns of one request may have a size of {} MiB when they are compiled", ROOM_BYTES >> 20)]
pub(crate) struct NoRoom;

impl Default for PatternRoom {
    fn default() -> Self {
        Self { left_bytes: ROOM_BYTES }
    }
}

impl PatternRoom {
    /// Takes room for what a pattern is in any case; the answer is how much.
    pub(crate) fn take(&mut self, pattern: &Ast) -> Result<usize, NoRoom> {
        let bytes = weight(pattern);
        self.spend(bytes).map(|()| bytes)
    }

    /// Takes room for texts that were made to tell alternatives apart.
    pub(crate) fn take_texts(&mut self, texts: usize) -> Result<(), NoRoom> {
        self.spend(texts.saturating_mul(ALTERNATIVE_BYTES))
    }

    /// Takes the room of a program beyond the `taken` bytes; the answer is all that it has.
    pub(crate) fn take_program(&mut self, taken: usize) -> Result<usize, NoRoom> {
        let bytes = taken.max(PROGRAM_BYTES);
        self.spend(bytes - taken).map(|()| bytes)
    }

    fn spend(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.left_bytes = self.left_bytes.checked_sub(bytes).ok_or(NoRoom)?;
        Ok(())
    }
}

/// Bytes of the program of a pattern. The parser bounds how deep a pattern is.
fn weight(ast: &Ast) -> usize {
    let inner = match ast {
        Ast::Empty(_) | Ast::Flags(_) | Ast::Assertion(_) | Ast::Literal(_) => 0,
        Ast::Dot(_) => WIDE_BYTES,
        Ast::ClassUnicode(_) | Ast::ClassPerl(_) => TABLE_BYTES,
        Ast::ClassBracketed(class) => bracketed(class),
        Ast::Repetition(repetition) => {
            let times = match repetition.op.kind {
                RepetitionKind::ZeroOrOne
                | RepetitionKind::ZeroOrMore
                | RepetitionKind::OneOrMore => 1,
                RepetitionKind::Range(
                    RepetitionRange::Exactly(times)
                    | RepetitionRange::AtLeast(times)
                    | RepetitionRange::Bounded(_, times),
                ) => usize::try_from(times).unwrap_or(usize::MAX).max(1),
            };
            weight(&repetition.ast).saturating_mul(times)
        }
        Ast::Group(group) => weight(&group.ast),
        Ast::Alternation(parts) => sum(parts.asts.iter().map(weight)),
        Ast::Concat(parts) => sum(parts.asts.iter().map(weight)),
    };
    inner.saturating_add(CHARACTER_BYTES)
}

fn bracketed(class: &ClassBracketed) -> usize {
    let negated = if class.negated { WIDE_BYTES } else { 0 };
    set(&class.kind).saturating_add(negated)
}

fn set(class: &ClassSet) -> usize {
    match class {
        ClassSet::Item(item) => set_item(item),
        ClassSet::BinaryOp(both) => set(&both.lhs).saturating_add(set(&both.rhs)),
    }
}

fn set_item(item: &ClassSetItem) -> usize {
    match item {
        ClassSetItem::Empty(_) | ClassSetItem::Literal(_) | ClassSetItem::Ascii(_) => {
            CHARACTER_BYTES
        }
        ClassSetItem::Range(range) if range.end.c.is_ascii() => CHARACTER_BYTES,
        ClassSetItem::Range(_) => WIDE_BYTES,
        ClassSetItem::Unicode(_) | ClassSetItem::Perl(_) => TABLE_BYTES,
        ClassSetItem::Bracketed(class) => bracketed(class),
        ClassSetItem::Union(union) => sum(union.items.iter().map(set_item)),
    }
}

fn sum(parts: impl Iterator<Item = usize>) -> usize {
    parts.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use crate::{MatchOp, Matcher, PatternRoom};

    /// How many of these patterns fit, of a number.
    fn fit(count: usize, pattern: impl Fn(usize) -> String) -> usize {
        let mut room = PatternRoom::default();
        let compiles =
            |at: &usize| Matcher::within("a", MatchOp::Regex, pattern(*at), &mut room).is_ok();
        (0..count).take_while(compiles).count()
    }

    #[test]
    fn patterns_share_their_room() {
        let tables = fit(3_000, |at| format!(r"\pL{{6}}{at}"));
        assert!((4..40).contains(&tables), "{tables}");
        let programs = fit(3_000, |at| format!(".*{at}.+x"));
        assert!((200..1_000).contains(&programs), "{programs}");
        let multiplied = fit(3_000, |at| format!("[ab]{{9}}{at}"));
        assert!(multiplied < 500, "512 alternatives each: {multiplied}");
        assert_eq!(fit(3_000, |at| format!("node_{at}.*")), 3_000, "no program is made of these");
        assert_eq!(fit(3_000, |at| format!("a{at}|b{at}")), 3_000);
        let hosts: Vec<String> = (0..1_000).map(|at| format!("host-{at}.example:9100")).collect();
        assert_eq!(fit(5, |at| format!("{}|x{at}", hosts.join("|"))), 5);
        assert_eq!(fit(3, |at| format!("{}.*|x{at}", hosts.join(".*|"))), 3);
    }

    #[test]
    fn one_pattern_that_is_too_large_is_told_before_it_is_made() {
        for pattern in
            [r"\pL".repeat(50_000), r"(\pL{1000}){1000}".to_owned(), r"[\pL]".repeat(200)]
        {
            let error = Matcher::new("a", MatchOp::Regex, pattern).unwrap_err();
            assert!(error.cause.contains("size of 16 MiB"), "{}", error.cause.len());
        }
    }
}
