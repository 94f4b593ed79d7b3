//! What stands in braces, and the lists of labels of `by`, `on` and the like.

use labstat_model::{METRIC_NAME, MatchOp, Matcher};

use super::SyntaxError;
use super::ast::Selector;
use super::lexer::{Kind, Token};
use super::parser::{Parser, text};
use crate::expr::BinaryOp;

impl Selector {
    /// Gives it the name that stands before the braces.
    pub(super) fn set_name(&mut self, name: &str) {
        self.matchers.push(Matcher::equal(METRIC_NAME, name));
        self.name = Some(name.to_owned());
    }
}

impl Parser<'_> {
    /// `(a, "b c", by)`.
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, SyntaxError> {
        const CONTEXT: &str = "grouping opts";

        let mut labels = Vec::new();
        let open = self.peek()?;
        if !self.accept(Kind::LeftParen)? {
            return Err(self.unexpected(open, CONTEXT, "\"(\""));
        }
        while !self.accept(Kind::RightParen)? {
            let token = self.peek()?;
            if !is_label(token.kind) {
                return Err(self.unexpected(token, CONTEXT, "label"));
            }
            self.take()?;
            labels.push(label(token)?);
            let token = self.peek()?;
            if !self.accept(Kind::Comma)? && token.kind != Kind::RightParen {
                return Err(self.unexpected(token, CONTEXT, "\",\" or \")\""));
            }
        }
        Ok(labels)
    }

    /// The matchers of a selector; the opening brace has been taken.
    pub(super) fn braces(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), SyntaxError> {
        const CONTEXT: &str = "label matching";

        while !self.accept(Kind::RightBrace)? {
            let token = self.peek()?;
            let name = match token.kind {
                Kind::Identifier => token.text.to_owned(),
                Kind::Text => text(token)?,
                _ => return Err(self.unexpected(token, CONTEXT, "identifier or \"}\"")),
            };
            self.take()?;
            let next = self.peek()?;
            match match_op(next.kind) {
                Some(op) => {
                    self.take()?;
                    matchers.push(self.matcher(name, op, token.start)?);
                }
                None if token.kind == Kind::Text => {
                    matchers.push(Matcher::equal(METRIC_NAME, name));
                }
                None => return Err(self.unexpected(next, CONTEXT, "label matching operator")),
            }
            let token = self.peek()?;
            if !self.accept(Kind::Comma)? && token.kind != Kind::RightBrace {
                return Err(self.unexpected(token, CONTEXT, "\",\" or \"}\""));
            }
        }
        Ok(())
    }

    /// A matcher of which the value is yet to come.
    fn matcher(&mut self, name: String, op: MatchOp, start: usize) -> Result<Matcher, SyntaxError> {
        let token = self.peek()?;
        if !self.accept(Kind::Text)? {
            return Err(self.unexpected(token, "label matching", "string"));
        }
        Matcher::within(name, op, text(token)?, self.patterns)
            .map_err(|error| SyntaxError::new(start, error.to_string()))
    }
}

fn match_op(kind: Kind) -> Option<MatchOp> {
    match kind {
        Kind::Equal => Some(MatchOp::Equal),
        Kind::Binary(BinaryOp::Ne) => Some(MatchOp::NotEqual),
        Kind::Regex => Some(MatchOp::Regex),
        Kind::NotRegex => Some(MatchOp::NotRegex),
        _ => None,
    }
}

/// Whether a token may be a label in a list: every word but `inf` and `nan`, and strings.
fn is_label(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Identifier
            | Kind::MetricIdentifier
            | Kind::Text
            | Kind::Aggregator(_)
            | Kind::Keyword(_)
            | Kind::Start
            | Kind::Finish
            | Kind::Binary(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2)
    )
}

fn label(token: Token<'_>) -> Result<String, SyntaxError> {
    if token.kind != Kind::Text {
        return Ok(token.text.to_owned());
    }
    let name = text(token)?;
    if name.is_empty() {
        return Err(SyntaxError::new(token.start, "invalid label name for grouping: \"\""));
    }
    Ok(name)
}
