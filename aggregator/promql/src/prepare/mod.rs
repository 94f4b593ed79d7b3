//! Stands between the text of a query and the grammar of `promql-parser`.
//!
//! - Holds the text to its bounds, so that no text can exhaust the stack or the time of what
//!   follows, and says where a text is wrong: the grammar itself knows no positions.
//! - Rewrites what the grammar does not know or gets wrong: arithmetic in durations, digits parted
//!   by underscores, an offset of zero, durations beyond 49 days in one unit, negative ranges.
//! - Takes the strings out: in the rewritten text every string is its index, and `lower` puts them
//!   back; so it does with the operators of matchers. So escapes are read once, and patterns are
//!   compiled once and with their size bounded.
//! - Notes where each part of the tree begins, for messages about it.
//!
//! Here is the walk from operand to operator to operand; `labels` and `durations` take what stands
//! in braces and brackets.

mod durations;
mod labels;

use std::collections::HashMap;
use std::fmt::Write;

use labstat_model::MatchOp;

use crate::error::{Position, QueryError};
use crate::functions;
use crate::tokens::{self, Kind, Token};

/// Bytes of a query. Dashboards that join hundreds of host names in a pattern stay far below.
const QUERY_LEN_MAX: usize = 256 * 1024;

/// Parentheses within parentheses. No query written by a person has a dozen.
const NESTING_MAX: usize = 100;

/// Operators in one query: each may add a level to the tree, and every later stage recurses.
const OPERATORS_MAX: usize = 250;

/// Milliseconds of any duration: 2^53 ms are 285,000 years, and sums of hundreds fit an `i64`.
pub(crate) const DURATION_MS_MAX: f64 = 9_007_199_254_740_992.0;

const AGGREGATORS: [&str; 14] = [
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "count_values",
    "quantile",
    "limitk",
    "limit_ratio",
];

const BINARY_SYMBOLS: [&str; 12] = ["+", "-", "*", "/", "%", "^", "==", "!=", "<", "<=", ">", ">="];

/// What a [`Mark`] is the beginning of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Sign,
    Paren,
    Call,
    Aggregate,
    Selector,
    Number,
    Text,
}

/// The beginning of a part, in the order of the text: also the order in which a walk of the tree
/// from the left, parents before children, meets the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) part: Part,
    pub(crate) start: usize,
}

/// A query made ready for the grammar.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The rewritten text.
    pub(crate) text: String,
    /// The strings, by the index that stands in their place.
    pub(crate) strings: Vec<String>,
    /// The operators of matchers, by the index of the value they compare with.
    pub(crate) operators: HashMap<usize, MatchOp>,
    /// Where the parts begin in the original text.
    pub(crate) marks: Vec<Mark>,
}

/// Makes `query` ready, or says what is wrong with it and where.
pub(crate) fn prepare(query: &str) -> Result<Prepared, QueryError> {
    if query.len() > QUERY_LEN_MAX {
        let len = query.len();
        let message = format!("query of {len} bytes, over the limit of {QUERY_LEN_MAX}");
        return Err(QueryError::parse(message));
    }
    let tokens = tokens::cut(query)?;
    if tokens.is_empty() {
        return Err(QueryError::parse("no expression found in input"));
    }
    let mut writer = Writer {
        query,
        tokens: &tokens,
        at: 0,
        out: Prepared::default(),
        open: Vec::new(),
        operators: 0,
    };
    writer.expression()?;
    Ok(writer.out)
}

/// What a parenthesis was opened by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Plain,
    Call,
    Aggregate,
}

struct Writer<'a> {
    query: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
    out: Prepared,
    open: Vec<Open>,
    operators: usize,
}

impl<'a> Writer<'a> {
    fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    fn peek_is(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.is(symbol))
    }

    fn take(&mut self) -> Option<&'a Token<'a>> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn write(&mut self, text: &str) {
        self.out.text.push_str(text);
        self.out.text.push(' ');
    }

    fn mark(&mut self, part: Part, token: &Token<'_>) {
        self.out.marks.push(Mark { part, start: token.start });
    }

    fn error_at(&self, token: Option<&Token<'_>>, message: impl Into<String>) -> QueryError {
        let start = token.map_or(self.query.len(), |token| token.start);
        QueryError::Parse {
            message: message.into(),
            position: Some(Position::of(self.query, start)),
        }
    }

    fn unexpected(&self, token: Option<&Token<'_>>, context: &str) -> QueryError {
        let what = match token {
            None => "unexpected end of input".to_owned(),
            Some(token) => match &token.kind {
                Kind::Number(_) => format!("unexpected number {:?}", token.text),
                Kind::Duration(_) => format!("unexpected duration {:?}", token.text),
                Kind::Text(text) => format!("unexpected string {text:?}"),
                Kind::Word => format!("unexpected identifier {:?}", token.text),
                Kind::Symbol => format!("unexpected {:?}", token.text),
            },
        };
        self.error_at(token, format!("{what}{context}"))
    }

    fn expect(&mut self, symbol: &str, context: &str) -> Result<(), QueryError> {
        let token = self.take();
        if token.is_some_and(|token| token.is(symbol)) {
            self.write(symbol);
            return Ok(());
        }
        Err(self.unexpected(token, &format!("{context}, expected {symbol:?}")))
    }

    /// The whole query: operands and what stands between them, by turns.
    fn expression(&mut self) -> Result<(), QueryError> {
        loop {
            let done = self.operand()?;
            if done && !self.after_operand()? {
                return Ok(());
            }
        }
    }

    /// Takes an operand, or one token of its beginning. True when the operand is complete.
    fn operand(&mut self) -> Result<bool, QueryError> {
        let token = self.take();
        let Some(found) = token else { return Err(self.unexpected(None, "")) };
        match &found.kind {
            Kind::Number(value) => self.number(found, *value),
            Kind::Duration(ms) => self.number(found, ms_to_seconds(*ms)),
            Kind::Text(text) => {
                self.mark(Part::Text, found);
                self.string(text);
                Ok(true)
            }
            Kind::Word => self.named(found),
            Kind::Symbol => match found.text {
                "+" | "-" => {
                    self.mark(Part::Sign, found);
                    self.operator(found)?;
                    self.write(found.text);
                    Ok(false)
                }
                "(" => {
                    self.mark(Part::Paren, found);
                    self.open(found, Open::Plain)?;
                    Ok(false)
                }
                "{" => {
                    self.mark(Part::Selector, found);
                    self.braces()?;
                    Ok(true)
                }
                ")" if self.is_empty_call() => {
                    self.close(found)?;
                    Ok(true)
                }
                _ => Err(self.unexpected(token, "")),
            },
        }
    }

    fn number(&mut self, token: &Token<'_>, value: f64) -> Result<bool, QueryError> {
        self.mark(Part::Number, token);
        let text = number_text(value);
        self.write(&text);
        Ok(true)
    }

    /// A string's index in its place.
    fn string(&mut self, text: &str) {
        let index = self.out.strings.len();
        self.out.strings.push(text.to_owned());
        // Writing to a String cannot fail.
        let _ = write!(self.out.text, "\"{index}\" ");
    }

    /// Whether the parenthesis that is being closed is that of a call and nothing is in it.
    fn is_empty_call(&self) -> bool {
        let before = self.at.checked_sub(2).and_then(|at| self.tokens.get(at));
        self.open.last() == Some(&Open::Call) && before.is_some_and(|token| token.is("("))
    }

    fn open(&mut self, token: &Token<'_>, by: Open) -> Result<(), QueryError> {
        if self.open.len() >= NESTING_MAX {
            let message = format!("parentheses nested deeper than {NESTING_MAX}");
            return Err(self.error_at(Some(token), message));
        }
        self.open.push(by);
        self.write("(");
        Ok(())
    }

    fn close(&mut self, token: &Token<'_>) -> Result<(), QueryError> {
        let Some(open) = self.open.pop() else {
            return Err(self.error_at(Some(token), "unexpected right parenthesis ')'"));
        };
        self.write(")");
        if open == Open::Aggregate {
            self.grouping()?;
        }
        Ok(())
    }

    fn operator(&mut self, token: &Token<'_>) -> Result<(), QueryError> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let message = format!("more than {OPERATORS_MAX} operators in one query");
            return Err(self.error_at(Some(token), message));
        }
        Ok(())
    }

    /// An aggregation, a call or a metric name. True when the operand is complete.
    fn named(&mut self, token: &'a Token<'a>) -> Result<bool, QueryError> {
        let next = self.peek();
        let called = next.is_some_and(|next| next.is("("));
        let grouped = next.is_some_and(is_grouping);
        let lower = token.text.to_ascii_lowercase();
        if AGGREGATORS.contains(&lower.as_str()) && (called || grouped) {
            self.mark(Part::Aggregate, token);
            self.write(&lower);
            self.grouping()?;
            let Some(paren) = self.take().filter(|token| token.is("(")) else {
                return Err(self.unexpected(self.tokens.get(self.at - 1), " in aggregation"));
            };
            self.open(paren, if grouped { Open::Call } else { Open::Aggregate })?;
            return Ok(false);
        }
        if called {
            if functions::find(token.text).is_none() {
                let message = format!("unknown function with name {:?}", token.text);
                return Err(self.error_at(Some(token), message));
            }
            self.mark(Part::Call, token);
            self.write(token.text);
            if let Some(paren) = self.take() {
                self.open(paren, Open::Call)?;
            }
            return Ok(false);
        }
        self.mark(Part::Selector, token);
        self.write(token.text);
        if self.peek_is("{") {
            self.at += 1;
            self.braces()?;
        }
        Ok(true)
    }

    /// What may follow an operand. False at the end of the query.
    fn after_operand(&mut self) -> Result<bool, QueryError> {
        loop {
            let token = self.take();
            let Some(found) = token else {
                if self.open.is_empty() {
                    return Ok(false);
                }
                return Err(self.error_at(None, "unclosed left parenthesis"));
            };
            match (&found.kind, found.text) {
                (Kind::Symbol, "[") => self.brackets()?,
                (Kind::Symbol, "@") => self.at_modifier()?,
                (Kind::Symbol, ")") => self.close(found)?,
                (Kind::Symbol, ",") => return self.comma(found),
                (Kind::Symbol, symbol) if BINARY_SYMBOLS.contains(&symbol) => {
                    return self.binary(found);
                }
                (Kind::Word, _) if found.is_word("offset") => self.offset()?,
                (Kind::Word, word) if is_word_operator(word) => return self.binary(found),
                _ => return Err(self.unexpected(token, "")),
            }
        }
    }

    fn comma(&mut self, token: &Token<'_>) -> Result<bool, QueryError> {
        if matches!(self.open.last(), None | Some(Open::Plain)) {
            return Err(self.unexpected(Some(token), ""));
        }
        self.write(",");
        Ok(true)
    }

    /// A binary operator with its modifiers.
    fn binary(&mut self, token: &Token<'_>) -> Result<bool, QueryError> {
        self.operator(token)?;
        self.write(&token.text.to_ascii_lowercase());
        if self.peek().is_some_and(|token| token.is_word("bool")) {
            self.at += 1;
            self.write("bool");
        }
        let listed = self.tokens.get(self.at + 1).is_some_and(|token| token.is("("));
        let matching = |token: &&Token<'_>| token.is_word("on") || token.is_word("ignoring");
        if let Some(token) = self.peek().filter(matching).filter(|_| listed) {
            self.at += 1;
            self.write(&token.text.to_ascii_lowercase());
            self.label_list("grouping opts")?;
            self.group_modifier()?;
        }
        self.refuse_unknown_modifiers()?;
        Ok(true)
    }

    /// `group_left (…)` or `group_right (…)`, the list being optional.
    fn group_modifier(&mut self) -> Result<(), QueryError> {
        let is_group =
            |token: &&Token<'_>| token.is_word("group_left") || token.is_word("group_right");
        let Some(token) = self.peek().filter(is_group) else { return Ok(()) };
        self.at += 1;
        self.write(&token.text.to_ascii_lowercase());
        if self.peek_is("(") {
            return self.label_list("grouping opts");
        }
        self.write("( )");
        Ok(())
    }

    fn refuse_unknown_modifiers(&self) -> Result<(), QueryError> {
        let next_is_paren = self.tokens.get(self.at + 1).is_some_and(|token| token.is("("));
        for name in ["fill", "fill_left", "fill_right"] {
            if next_is_paren && self.peek().is_some_and(|token| token.is_word(name)) {
                return Err(
                    self.error_at(self.peek(), format!("modifier {name:?} is not supported"))
                );
            }
        }
        Ok(())
    }
}

fn is_grouping(token: &Token<'_>) -> bool {
    token.is_word("by") || token.is_word("without")
}

fn is_word_operator(word: &str) -> bool {
    ["and", "or", "unless", "atan2"].iter().any(|op| word.eq_ignore_ascii_case(op))
}

#[expect(clippy::cast_precision_loss, reason = "durations are bounded far below 2^53 seconds")]
fn ms_to_seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A number as the grammar reads it; it would take a leading zero for octal.
fn number_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        "Inf".to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(query: &str) -> String {
        prepare(query).unwrap().text
    }

    fn error(query: &str) -> String {
        prepare(query).unwrap_err().to_string()
    }

    #[test]
    fn what_the_grammar_does_not_know_is_rewritten() {
        assert_eq!(text("1_000"), "1e3 ");
        assert_eq!(text("a[5m*2]"), "a [600000ms] ");
        assert_eq!(text("a[1m0s:(30s)]"), "a [60000ms:30000ms] ");
        assert_eq!(text("a[1y]"), "a [365d] ");
        assert_eq!(text("a offset 0s"), "a ");
        assert_eq!(text("a offset -1_0"), "a offset - 10000ms ");
        assert_eq!(text("a @ -1.5"), "a @ - 1.5e0 ");
    }

    #[test]
    fn strings_become_indices() {
        let prepared = prepare(r#"{"a.b", x=~'y'}"#).unwrap();
        assert_eq!(prepared.text, r#"{ "0" , "1" = "2" } "#);
        assert_eq!(prepared.strings, ["a.b", "x", "y"]);
        assert_eq!(prepared.operators[&2], MatchOp::Regex);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (query, message) in [
            ("", "parse error: no expression found in input"),
            ("sum(", "1:5: parse error: unexpected end of input"),
            ("a b", "1:3: parse error: unexpected identifier \"b\""),
            ("a[-5m]", "1:3: parse error: duration must be greater than 0"),
            ("a[1m/0]", "1:5: parse error: division by zero in duration"),
            ("nope(a)", "1:1: parse error: unknown function with name \"nope\""),
            ("(a", "1:3: parse error: unclosed left parenthesis"),
            ("a)", "1:2: parse error: unexpected right parenthesis ')'"),
            ("a + fill(3) b", "1:5: parse error: modifier \"fill\" is not supported"),
            (
                "a{x=y}",
                "1:5: parse error: unexpected identifier \"y\" in label matching, expected string",
            ),
            ("a[1e30]", "1:3: parse error: duration out of range"),
        ] {
            assert_eq!(error(query), message, "{query}");
        }
    }

    #[test]
    fn bounds_hold() {
        assert!(error(&"(".repeat(200)).contains("nested deeper"));
        assert!(error(&"-".repeat(2000)).contains("operators"));
        assert!(error(&format!("a[{}1]", "-".repeat(2000))).contains("nested deeper"));
        assert!(error(&" ".repeat(QUERY_LEN_MAX + 1)).contains("over the limit"));
    }
}
