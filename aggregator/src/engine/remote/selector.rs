//! Matchers as the text of a selector that every engine understands.

use std::fmt::Write;

use labstat_model::{MatchOp, Matcher, is_label_name};

/// A selector, and whether the engine's answer must be looked through again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) text: String,
    /// A condition is on a name that not every engine can take: it was left out.
    pub(super) wider: bool,
}

/// What selects everything: a selector needs a condition that no empty value fulfils.
const ALL: &str = "{__name__!=\"\"}";

/// The selector that asks for series that fulfil all `matchers`, or for more.
pub(super) fn selector(matchers: &[Matcher]) -> Selector {
    let mut text = "{".to_owned();
    let plain = |matcher: &&Matcher| is_label_name(matcher.name());
    for matcher in matchers.iter().filter(plain) {
        let op = match matcher.op() {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(matcher.name());
        text.push_str(op);
        push_quoted(&mut text, matcher.value());
    }
    text.push('}');
    let narrow = matchers.iter().filter(plain).any(|matcher| !matcher.matches(""));
    if !narrow {
        // What is not narrowed down is asked for as a whole.
        ALL.clone_into(&mut text);
    }
    Selector { text, wider: !narrow || !matchers.iter().all(|matcher| plain(&matcher)) }
}

/// Appends a string literal as Go, and with it PromQL, has it.
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            // The replacement character stands for broken text in Go's lexer: written as it is,
            // it is refused.
            c if c.is_control() || c == char::REPLACEMENT_CHARACTER => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conditions_that_not_all_understand_are_left_out() {
        let odd = Matcher::equal("label.x", "1");
        let name = Matcher::equal("__name__", "dotted.metric");
        let not = Matcher::new("job", MatchOp::NotEqual, "a").unwrap();
        let found = selector(&[name, odd.clone(), not.clone()]);
        assert_eq!(found.text, r#"{__name__="dotted.metric",job!="a"}"#);
        assert!(found.wider);
        assert_eq!(selector(&[odd]), Selector { text: ALL.to_owned(), wider: true });
        assert_eq!(selector(&[not]), Selector { text: ALL.to_owned(), wider: true });
        assert_eq!(selector(&[]), Selector { text: ALL.to_owned(), wider: true });
    }

    #[test]
    fn the_replacement_character_is_escaped() {
        let matchers = [Matcher::equal("l", "a\u{fffd}\u{7f}")];
        let text = selector(&matchers).text;
        assert_eq!(text, r#"{l="a\ufffd\u007f"}"#);
        assert_eq!(labstat_promql::selector(&text).unwrap(), matchers);
    }

    proptest! {
        /// What is written reads back as the same matchers.
        #[test]
        fn any_value_reads_back(value in any::<String>()) {
            let matchers = [Matcher::equal("__name__", "m"), Matcher::equal("l", value)];
            let text = selector(&matchers).text;
            prop_assert_eq!(labstat_promql::selector(&text).unwrap(), matchers);
        }
    }
}
