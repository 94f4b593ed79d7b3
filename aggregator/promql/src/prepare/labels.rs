//! Labels: matchers in braces, and the lists of `by`, `without`, `on` and `ignoring`.

use labstat_model::{MatchOp, is_label_name};

use super::{Writer, is_grouping};
use crate::error::QueryError;
use crate::tokens::{Kind, Token};

impl Writer<'_> {
    /// `by (…)` or `without (…)`, when it is there.
    pub(super) fn grouping(&mut self) -> Result<(), QueryError> {
        if let Some(token) = self.peek().filter(|token| is_grouping(token)) {
            self.at += 1;
            self.write(&token.text.to_ascii_lowercase());
            self.label_list("grouping opts")?;
        }
        Ok(())
    }

    /// `(a, b)`.
    pub(super) fn label_list(&mut self, context: &str) -> Result<(), QueryError> {
        let context = format!(" in {context}");
        self.expect("(", &context)?;
        loop {
            let token = self.take();
            let Some(found) = token else { return Err(self.unexpected(None, &context)) };
            match &found.kind {
                // A string, since the grammar takes some of its keywords for no labels.
                Kind::Word if is_label_name(found.text) => self.string(found.text),
                Kind::Text(text) => self.string(text),
                Kind::Symbol if found.text == ")" => {
                    self.write(")");
                    return Ok(());
                }
                _ => return Err(self.unexpected(token, &format!("{context}, expected label"))),
            }
            if self.peek_is(",") {
                self.at += 1;
                self.write(",");
            } else if !self.peek_is(")") {
                return Err(
                    self.unexpected(self.peek(), &format!("{context}, expected \",\" or \")\""))
                );
            }
        }
    }

    /// The matchers of a selector; the opening brace has been taken.
    pub(super) fn braces(&mut self) -> Result<(), QueryError> {
        const CONTEXT: &str = " in label matching";
        self.write("{");
        loop {
            let token = self.take();
            let Some(found) = token else {
                return Err(self.error_at(None, "unexpected end of input inside braces"));
            };
            match &found.kind {
                Kind::Symbol if found.text == "}" => {
                    self.write("}");
                    return Ok(());
                }
                // Within braces even `inf` and `nan` are labels.
                Kind::Word | Kind::Number(_) if is_label_name(found.text) => {
                    self.string(found.text);
                    self.matcher()?;
                }
                Kind::Text(text) => {
                    self.string(text);
                    if !self.peek_is(",") && !self.peek_is("}") {
                        self.matcher()?;
                    }
                }
                _ => {
                    let context = format!("{CONTEXT}, expected identifier or \"}}\"");
                    return Err(self.unexpected(token, &context));
                }
            }
            if self.peek_is(",") {
                self.at += 1;
                // The grammar knows a comma before a brace only behind a matcher: as here.
                self.write(",");
            } else if !self.peek_is("}") {
                let context = format!("{CONTEXT}, expected \",\" or \"}}\"");
                return Err(self.unexpected(self.peek(), &context));
            }
        }
    }

    /// `="value"`. To the grammar every matcher is an equality; the operator is kept aside.
    fn matcher(&mut self) -> Result<(), QueryError> {
        let token = self.take();
        let op = match token.filter(|token| token.kind == Kind::Symbol).map(|token| token.text) {
            Some("=") => MatchOp::Equal,
            Some("!=") => MatchOp::NotEqual,
            Some("=~") => MatchOp::Regex,
            Some("!~") => MatchOp::NotRegex,
            _ => {
                let context = " in label matching, expected label matching operator";
                return Err(self.unexpected(token, context));
            }
        };
        match self.take() {
            Some(Token { kind: Kind::Text(text), .. }) => {
                self.out.operators.insert(self.out.strings.len(), op);
                self.write("=");
                self.string(text);
                Ok(())
            }
            token => Err(self.unexpected(token, " in label matching, expected string")),
        }
    }
}
