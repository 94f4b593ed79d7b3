//! Durations and times: `[range:step]`, `offset` and `@`, with the arithmetic that may stand in them.

use std::fmt::Write;

use super::{DURATION_MS_MAX, NESTING_MAX, Writer, ms_to_seconds, number_text};
use crate::error::QueryError;
use crate::tokens::{Kind, Token};

impl Writer<'_> {
    /// `[range]`, `[range:step]` or `[range:]`; the bracket has been taken.
    pub(super) fn brackets(&mut self) -> Result<(), QueryError> {
        let first = self.peek();
        let range = self.duration_sum()?;
        self.out.text.push('[');
        self.positive_duration(range, first)?;
        if self.peek_is(":") {
            self.at += 1;
            self.out.text.push(':');
            if !self.peek_is("]") {
                let first = self.peek();
                let step = self.duration_sum()?;
                self.positive_duration(step, first)?;
            }
        }
        self.expect("]", " in brackets")
    }

    fn positive_duration(
        &mut self,
        seconds: f64,
        at: Option<&Token<'_>>,
    ) -> Result<(), QueryError> {
        let ms = self.duration_ms(seconds, at)?;
        if ms <= 0 {
            return Err(self.error_at(at, "duration must be greater than 0"));
        }
        push_duration(&mut self.out.text, ms);
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "the bound was checked before")]
    fn duration_ms(&self, seconds: f64, at: Option<&Token<'_>>) -> Result<i64, QueryError> {
        let ms = (seconds * 1000.0).round();
        if ms.is_nan() || ms.abs() > DURATION_MS_MAX {
            return Err(self.error_at(at, "duration out of range"));
        }
        Ok(ms as i64)
    }

    /// `offset 5m`, `offset -5m`, `offset (5m * 2)`; the keyword has been taken.
    pub(super) fn offset(&mut self) -> Result<(), QueryError> {
        let first = self.peek();
        let seconds = self.duration_atom(0)?;
        let ms = self.duration_ms(seconds, first)?;
        // The grammar refuses an offset of zero, which is the same as none.
        if ms != 0 {
            self.write(if ms < 0 { "offset -" } else { "offset" });
            push_duration(&mut self.out.text, ms.saturating_abs());
            self.out.text.push(' ');
        }
        Ok(())
    }

    /// `@ 1609746000`, `@ start()`; the sign has been taken.
    pub(super) fn at_modifier(&mut self) -> Result<(), QueryError> {
        let first = self.peek();
        if let Some(word) = first.filter(|token| token.is_word("start") || token.is_word("end")) {
            self.at += 1;
            self.write("@");
            self.write(&word.text.to_ascii_lowercase());
            self.expect("(", " in @")?;
            return self.expect(")", " in @");
        }
        let mut seconds = self.duration_atom(0)?;
        let ms = seconds * 1000.0;
        if ms.is_nan() || ms.abs() > DURATION_MS_MAX {
            let message = format!("timestamp out of bounds for @ modifier: {seconds}");
            return Err(self.error_at(first, message));
        }
        // The grammar rounds half away from zero, as Prometheus does, but a negative zero is
        // nothing to it.
        seconds += 0.0;
        self.write(if seconds < 0.0 { "@ -" } else { "@" });
        let text = number_text(seconds.abs());
        self.write(&text);
        Ok(())
    }

    /// Sums, products and powers of durations; the value in seconds.
    fn duration_sum(&mut self) -> Result<f64, QueryError> {
        self.duration_binary(0, 0)
    }

    fn duration_binary(&mut self, depth: usize, binding_min: u8) -> Result<f64, QueryError> {
        let mut left = self.duration_atom(depth)?;
        while let Some(token) = self.peek() {
            let (binding, right_binding) = match token.text {
                "+" | "-" => (1, 2),
                "*" | "/" | "%" => (2, 3),
                "^" => (3, 3),
                _ => break,
            };
            if binding < binding_min {
                break;
            }
            self.at += 1;
            self.operator(token)?;
            let right = self.duration_binary(depth + 1, right_binding)?;
            left = match token.text {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" | "%" if right == 0.0 => {
                    return Err(self.error_at(Some(token), "division by zero in duration"));
                }
                "/" => left / right,
                "%" => left % right,
                _ => left.powf(right),
            };
        }
        Ok(left)
    }

    fn duration_atom(&mut self, depth: usize) -> Result<f64, QueryError> {
        let token = self.take();
        if depth > NESTING_MAX {
            return Err(self.error_at(token, format!("duration nested deeper than {NESTING_MAX}")));
        }
        let Some(found) = token else { return Err(self.unexpected(None, ", expected duration")) };
        match (&found.kind, found.text) {
            (Kind::Number(value), _) => Ok(*value),
            (Kind::Duration(ms), _) => Ok(ms_to_seconds(*ms)),
            (Kind::Symbol, "-") => Ok(-self.duration_atom(depth + 1)?),
            (Kind::Symbol, "+") => self.duration_atom(depth + 1),
            (Kind::Symbol, "(") => {
                let value = self.duration_binary(depth + 1, 0)?;
                let close = self.take();
                if close.is_some_and(|token| token.is(")")) {
                    return Ok(value);
                }
                Err(self.unexpected(close, " in duration, expected \")\""))
            }
            _ => Err(self.unexpected(token, ", expected duration")),
        }
    }
}

/// A duration as the grammar reads it: it drops any unit whose number does not fit 32 bits, so
/// days stand apart from milliseconds.
fn push_duration(text: &mut String, ms: i64) {
    const DAY_MS: i64 = 86_400_000;
    let (days, rest) = (ms / DAY_MS, ms % DAY_MS);
    if days > 0 {
        let _ = write!(text, "{days}d");
    }
    if rest > 0 {
        let _ = write!(text, "{rest}ms");
    }
}
