//! Makes the tree of a query: operators by precedence, everything else by descent.
//!
//! The first error ends the reading. Its words tell the innermost thing that was being read, in
//! the way of Prometheus: an aggregation, a list of labels, a range, or nothing.

use labstat_model::PatternRoom;

use super::ast::{
    Aggregate, At, Binary, Call, Card, Duration, Expr, Matching, Matrix, Node, Selector, Shift,
    Sign, Subquery,
};
use super::lexer::{Keyword, Kind, Lexer, Token};
use super::{DEPTH_MAX, SyntaxError, number, quote};
use crate::expr::{AggregateOp, BinaryOp, Edges, Fill};
use crate::functions;

/// Milliseconds of a fixed time: 2^53 of them are 285,000 years, and sums of hundreds fit an
/// `i64`.
const TIME_MS_MAX: f64 = 9_007_199_254_740_992.0;

/// The precedence of a sign: that of a product.
const SIGN: u8 = 5;

pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Tokens read ahead, at most two.
    ahead: [Option<Token<'a>>; 2],
    /// What an error within an expression is in.
    context: &'static str,
    /// Whether a part of a duration is read that stands in parentheses.
    pub(super) in_duration_parens: bool,
    nesting: usize,
    /// What is left for patterns.
    pub(super) patterns: &'a mut PatternRoom,
}

pub(super) fn query(text: &str) -> Result<Expr, SyntaxError> {
    let mut patterns = PatternRoom::default();
    let mut parser = Parser::new(text, &mut patterns);
    if parser.peek()?.kind == Kind::End {
        return Err(SyntaxError::new(0, "no expression found in input"));
    }
    let expr = parser.expr(0)?;
    parser.end()?;
    Ok(expr)
}

/// A selector of series and nothing behind it.
pub(super) fn selector(text: &str, patterns: &mut PatternRoom) -> Result<Expr, SyntaxError> {
    let mut parser = Parser::new(text, patterns);
    let token = parser.peek()?;
    if token.kind != Kind::LeftBrace && !is_name(token.kind) {
        return Err(parser.unexpected(token, "", ""));
    }
    parser.take()?;
    let expr = parser.vector_selector(token)?;
    parser.end()?;
    Ok(expr)
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, patterns: &'a mut PatternRoom) -> Self {
        Self {
            lexer: Lexer::new(text),
            ahead: [None, None],
            context: "",
            in_duration_parens: false,
            nesting: 0,
            patterns,
        }
    }

    pub(super) fn peek(&mut self) -> Result<Token<'a>, SyntaxError> {
        let [first, _] = &mut self.ahead;
        match first {
            Some(token) => Ok(*token),
            None => {
                let token = self.lexer.next()?;
                *first = Some(token);
                Ok(token)
            }
        }
    }

    /// The token after that of [`Parser::peek`], which must have been called.
    pub(super) fn peek_second(&mut self) -> Result<Token<'a>, SyntaxError> {
        let [_, second] = &mut self.ahead;
        match second {
            Some(token) => Ok(*token),
            None => {
                let token = self.lexer.next()?;
                *second = Some(token);
                Ok(token)
            }
        }
    }

    pub(super) fn take(&mut self) -> Result<Token<'a>, SyntaxError> {
        let token = self.peek()?;
        let [_, second] = self.ahead;
        self.ahead = [second, None];
        Ok(token)
    }

    /// Takes the next token if it is of this kind.
    pub(super) fn accept(&mut self, kind: Kind) -> Result<bool, SyntaxError> {
        let found = self.peek()?.kind == kind;
        if found {
            self.take()?;
        }
        Ok(found)
    }

    pub(super) fn unexpected(
        &self,
        token: Token<'_>,
        context: &str,
        expected: &str,
    ) -> SyntaxError {
        let mut message = format!("unexpected {}", token.described());
        for (word, text) in [(" in ", context), (", expected ", expected)] {
            if !text.is_empty() {
                message.push_str(word);
                message.push_str(text);
            }
        }
        SyntaxError::new(token.start, message)
    }

    /// Where an expression was expected, or its end.
    fn unexpected_here(&self, token: Token<'_>) -> SyntaxError {
        self.unexpected(token, self.context, "")
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let token = self.peek()?;
        if token.kind == Kind::End { Ok(()) } else { Err(self.unexpected_here(token)) }
    }

    /// Goes one level deeper, from which [`Parser::leave`] comes back.
    pub(super) fn enter(&mut self, start: usize) -> Result<(), SyntaxError> {
        self.nesting += 1;
        if self.nesting > DEPTH_MAX { Err(SyntaxError::too_deep(start)) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.nesting -= 1;
    }

    pub(super) fn number_value(&self, token: Token<'_>) -> Result<f64, SyntaxError> {
        number::value(token.text).map_err(|message| SyntaxError::new(token.start, message))
    }

    /// Operands and operators that bind at least as tight as `least`.
    ///
    /// This and what it calls to come back here are kept small: each level of a query takes all
    /// their frames from the stack.
    fn expr(&mut self, least: u8) -> Result<Expr, SyntaxError> {
        let mut lhs = self.operand()?;
        loop {
            let token = self.peek()?;
            match token.kind {
                Kind::Binary(op) if precedence(op) >= least => {
                    self.take()?;
                    lhs = self.binary(lhs, op, token.start)?;
                }
                _ => return Ok(lhs),
            }
        }
    }

    /// The right side of an operator, which has been taken.
    fn binary(&mut self, lhs: Expr, op: BinaryOp, op_start: usize) -> Result<Expr, SyntaxError> {
        let (bool_result, matching) = self.binary_modifiers()?;
        let least = if op == BinaryOp::Pow { precedence(op) } else { precedence(op) + 1 };
        self.enter(op_start)?;
        let rhs = self.expr(least)?;
        self.leave();
        let (start, depth) = (lhs.start, lhs.depth.max(rhs.depth));
        let matching = Some(matching);
        let binary = Binary { op, op_start, lhs, rhs, bool_result, matching };
        node(Node::Binary(Box::new(binary)), start, depth + 1)
    }

    /// One operand, with what is attached to it from behind.
    fn operand(&mut self) -> Result<Expr, SyntaxError> {
        let token = self.take()?;
        let expr = match token.kind {
            Kind::LeftParen => self.paren(token.start),
            Kind::Binary(BinaryOp::Add) => self.signed(Sign::Plus, token.start),
            Kind::Binary(BinaryOp::Sub) => self.signed(Sign::Minus, token.start),
            Kind::Aggregator(op) if self.is_aggregation()? => self.aggregate(op, token.start),
            Kind::Identifier | Kind::Start | Kind::Finish
                if self.peek()?.kind == Kind::LeftParen =>
            {
                self.call(token)
            }
            _ => self.leaf(token),
        };
        self.attached(expr?)
    }

    fn leaf(&mut self, token: Token<'a>) -> Result<Expr, SyntaxError> {
        let node = match token.kind {
            Kind::Number => Node::Number { value: self.number_value(token)?, is_duration: false },
            Kind::Duration => {
                let value = number::duration_seconds(token.text);
                let value = value.map_err(|message| SyntaxError::new(token.start, message))?;
                Node::Number { value, is_duration: true }
            }
            Kind::Text => Node::Text(text(token)?),
            Kind::LeftBrace => return self.vector_selector(token),
            kind if is_name(kind) => return self.vector_selector(token),
            _ => return Err(self.unexpected_here(token)),
        };
        Ok(leaf(node, token.start))
    }

    fn paren(&mut self, start: usize) -> Result<Expr, SyntaxError> {
        self.enter(start)?;
        let inner = self.expr(0)?;
        self.leave();
        let close = self.peek()?;
        if !self.accept(Kind::RightParen)? {
            return Err(self.unexpected_here(close));
        }
        let depth = inner.depth + 1;
        node(Node::Paren(Box::new(inner)), start, depth)
    }

    fn signed(&mut self, sign: Sign, start: usize) -> Result<Expr, SyntaxError> {
        self.enter(start)?;
        let inner = self.expr(SIGN + 1)?;
        self.leave();
        match inner.node {
            Node::Number { value, is_duration } => {
                let value = if sign == Sign::Minus { -value } else { value };
                Ok(leaf(Node::Number { value, is_duration }, start))
            }
            _ => {
                let depth = inner.depth + 1;
                node(Node::Unary(sign, Box::new(inner)), start, depth)
            }
        }
    }

    fn vector_selector(&mut self, token: Token<'a>) -> Result<Expr, SyntaxError> {
        let mut selector = Box::<Selector>::default();
        if token.kind == Kind::LeftBrace {
            self.braces(&mut selector.matchers)?;
        } else {
            if self.accept(Kind::LeftBrace)? {
                self.braces(&mut selector.matchers)?;
            }
            selector.set_name(token.text);
        }
        Ok(leaf(Node::Selector(selector), token.start))
    }

    /// Whether the name of an aggregator that has been taken is used as one, not as a metric.
    fn is_aggregation(&mut self) -> Result<bool, SyntaxError> {
        Ok(matches!(
            self.peek()?.kind,
            Kind::LeftParen | Kind::Keyword(Keyword::By | Keyword::Without)
        ))
    }

    fn aggregate(&mut self, op: AggregateOp, start: usize) -> Result<Expr, SyntaxError> {
        let outside = std::mem::replace(&mut self.context, "aggregation");
        let mut grouping = self.grouping()?;
        let args = self.args(start)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        self.context = outside;
        aggregation(op, args, grouping, start)
    }

    /// `by (…)` or `without (…)`, when it is there: whether it is `without`, and the labels.
    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, SyntaxError> {
        let without = match self.peek()?.kind {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take()?;
        Ok(Some((without, self.label_list()?)))
    }

    fn call(&mut self, name: Token<'a>) -> Result<Expr, SyntaxError> {
        let args = self.args(name.start)?;
        let Some(function) = functions::find(name.text) else {
            let mut message = format!("unknown function with name {}", quote::quote(name.text));
            if name.text == "holt_winters" {
                message.push_str(", it is \"double_exponential_smoothing\" since Prometheus 3.0");
            }
            return Err(SyntaxError::new(name.start, message));
        };
        let depth = args.iter().map(|arg| arg.depth).max().unwrap_or(0) + 1;
        node(Node::Call(Box::new(Call { function, args })), name.start, depth)
    }

    /// `(a, b)`.
    fn args(&mut self, start: usize) -> Result<Vec<Expr>, SyntaxError> {
        let mut args = Vec::new();
        let open = self.peek()?;
        if !self.accept(Kind::LeftParen)? {
            return Err(self.unexpected_here(open));
        }
        if self.accept(Kind::RightParen)? {
            return Ok(args);
        }
        loop {
            self.enter(start)?;
            args.push(self.expr(0)?);
            self.leave();
            let token = self.peek()?;
            match token.kind {
                Kind::RightParen => {
                    self.take()?;
                    return Ok(args);
                }
                Kind::Comma => {
                    self.take()?;
                    if !begins_expr(self.peek()?.kind) {
                        let message = "trailing commas not allowed in function call args";
                        return Err(SyntaxError::new(token.start, message));
                    }
                }
                _ => return Err(self.unexpected_here(token)),
            }
        }
    }

    /// `bool`, `on (…) group_left (…)` and `fill (…)`, whatever of it is there.
    fn binary_modifiers(&mut self) -> Result<(bool, Matching), SyntaxError> {
        let bool_result = self.accept(Kind::Keyword(Keyword::Bool))?;
        let mut matching = Matching {
            card: Card::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill: Fill::NONE,
        };
        let kind = self.peek()?.kind;
        if let Kind::Keyword(Keyword::On | Keyword::Ignoring) = kind {
            self.take()?;
            matching.on = kind == Kind::Keyword(Keyword::On);
            matching.labels = self.label_list()?;
            matching.card = match self.peek()?.kind {
                Kind::Keyword(Keyword::GroupLeft) => Card::ManyToOne,
                Kind::Keyword(Keyword::GroupRight) => Card::OneToMany,
                _ => Card::OneToOne,
            };
            if matching.card.is_grouped() {
                self.take()?;
                // The list may be left out, but then the right side must follow.
                if !may_follow_group(self.peek()?.kind) {
                    matching.include = self.label_list()?;
                }
            }
        }
        matching.fill = self.fill()?;
        Ok((bool_result, matching))
    }

    /// `fill (0)`, or `fill_left (0)` and `fill_right (1)`, each at most once.
    fn fill(&mut self) -> Result<Fill, SyntaxError> {
        let mut fill = Fill::NONE;
        loop {
            match self.peek()?.kind {
                Kind::Keyword(Keyword::Fill) if fill == Fill::NONE => {
                    self.take()?;
                    let value = Some(self.fill_value()?);
                    return Ok(Fill { left: value, right: value });
                }
                Kind::Keyword(Keyword::FillLeft) if fill.left.is_none() => {
                    self.take()?;
                    fill.left = Some(self.fill_value()?);
                }
                Kind::Keyword(Keyword::FillRight) if fill.right.is_none() => {
                    self.take()?;
                    fill.right = Some(self.fill_value()?);
                }
                _ => return Ok(fill),
            }
        }
    }

    fn fill_value(&mut self) -> Result<f64, SyntaxError> {
        // The word is a keyword only where a parenthesis follows.
        self.accept(Kind::LeftParen)?;
        let value = self.signed_number("fill", "number")?;
        let close = self.peek()?;
        if !self.accept(Kind::RightParen)? {
            return Err(self.unexpected(close, "fill", "\")\""));
        }
        Ok(value)
    }

    /// A number or a duration in seconds, with a sign or without.
    fn signed_number(&mut self, context: &str, expected: &str) -> Result<f64, SyntaxError> {
        let negative = self.peek()?.kind == Kind::Binary(BinaryOp::Sub);
        if negative || self.peek()?.kind == Kind::Binary(BinaryOp::Add) {
            self.take()?;
        }
        let token = self.peek()?;
        let value = match token.kind {
            Kind::Number => self.number_value(token)?,
            Kind::Duration => number::duration_seconds(token.text)
                .map_err(|message| SyntaxError::new(token.start, message))?,
            _ => return Err(self.unexpected(token, context, expected)),
        };
        self.take()?;
        Ok(if negative { -value } else { value })
    }

    /// Ranges, `offset`, `@` and the like, in any number.
    fn attached(&mut self, mut expr: Expr) -> Result<Expr, SyntaxError> {
        loop {
            let token = self.peek()?;
            match token.kind {
                Kind::LeftBracket => {
                    self.take()?;
                    expr = self.bracket(expr, token.start)?;
                }
                Kind::Keyword(Keyword::Offset) => {
                    self.take()?;
                    let offset = self.offset_duration()?;
                    set_offset(&mut expr, offset)?;
                }
                Kind::At => {
                    self.take()?;
                    let at = self.at(expr.start)?;
                    set_at(&mut expr, at)?;
                }
                Kind::Keyword(Keyword::Anchored) => {
                    self.take()?;
                    set_edges(&mut expr, Edges::Anchored)?;
                }
                Kind::Keyword(Keyword::Smoothed) => {
                    self.take()?;
                    set_edges(&mut expr, Edges::Smoothed)?;
                }
                _ => return Ok(expr),
            }
        }
    }

    /// `[range]`, `[range:step]` or `[range:]`; the bracket has been taken.
    fn bracket(&mut self, expr: Expr, open: usize) -> Result<Expr, SyntaxError> {
        let range = self.positive_duration(("subquery selector", "number or duration"))?;
        let token = self.peek()?;
        if self.accept(Kind::RightBracket)? {
            return matrix(expr, range, open);
        }
        if !self.accept(Kind::Colon)? {
            return Err(self.unexpected(token, "subquery or range", "\":\" or \"]\""));
        }
        let mut step = None;
        if self.peek()?.kind != Kind::RightBracket {
            let missing = ("subquery selector", "number or duration or \"]\"");
            step = Some(self.positive_duration(missing)?);
        }
        let close = self.peek()?;
        if !self.accept(Kind::RightBracket)? {
            return Err(self.unexpected(close, "subquery selector", "\"]\""));
        }
        let (start, depth) = (expr.start, expr.depth + 1);
        let subquery = Subquery { expr, range, step, shift: Shift::default() };
        node(Node::Subquery(Box::new(subquery)), start, depth)
    }

    /// The time behind `@`, which has been taken.
    fn at(&mut self, start: usize) -> Result<At, SyntaxError> {
        const CONTEXT: &str = "@";
        const EXPECTED: &str = "timestamp";

        let at = match self.peek()?.kind {
            Kind::Start => At::Start,
            Kind::Finish => At::End,
            _ => return at_time(self.signed_number(CONTEXT, EXPECTED)?, start),
        };
        self.take()?;
        for kind in [Kind::LeftParen, Kind::RightParen] {
            let token = self.peek()?;
            if !self.accept(kind)? {
                return Err(self.unexpected(token, CONTEXT, EXPECTED));
            }
        }
        Ok(at)
    }
}

/// An aggregation of as many arguments as it takes.
fn aggregation(
    op: AggregateOp,
    args: Vec<Expr>,
    grouping: Option<(bool, Vec<String>)>,
    start: usize,
) -> Result<Expr, SyntaxError> {
    let error = |message: String| Err(SyntaxError::new(start, message));
    let wanted = if op.has_param() { 2 } else { 1 };
    if args.is_empty() {
        return error("no arguments for aggregate expression provided".to_owned());
    }
    let found = args.len();
    let mut args = args.into_iter();
    let param = if op.has_param() { args.next() } else { None };
    let (Some(expr), None) = (args.next(), args.next()) else {
        return error(format!(
            "wrong number of arguments for aggregate expression provided, \
             expected {wanted}, got {found}"
        ));
    };
    let (without, grouping) = grouping.unwrap_or_default();
    let depth = param.as_ref().map_or(0, |param| param.depth).max(expr.depth) + 1;
    let aggregate = Aggregate { op, param, expr, without, grouping };
    node(Node::Aggregate(Box::new(aggregate)), start, depth)
}

#[expect(clippy::cast_possible_truncation, reason = "bounded right here")]
fn at_time(seconds: f64, start: usize) -> Result<At, SyntaxError> {
    let ms = (seconds * 1000.0).round();
    if ms.is_nan() || ms.abs() > TIME_MS_MAX {
        let seconds =
            if seconds.is_finite() { format!("{seconds:.6}") } else { number::plain(seconds) };
        let message = format!("timestamp out of bounds for @ modifier: {seconds}");
        return Err(SyntaxError::new(start, message));
    }
    Ok(At::Time(ms as i64))
}

fn matrix(expr: Expr, range: Duration, open: usize) -> Result<Expr, SyntaxError> {
    let Node::Selector(selector) = expr.node else {
        return Err(SyntaxError::new(open, "ranges only allowed for vector selectors"));
    };
    if selector.shift.offset.as_ref().is_some_and(|offset| !offset.is_zero()) {
        return Err(SyntaxError::new(open, "no offset modifiers allowed before range"));
    }
    if matches!(selector.shift.at, Some(At::Time(_))) {
        return Err(SyntaxError::new(open, "no @ modifiers allowed before range"));
    }
    Ok(leaf(Node::Matrix(Box::new(Matrix { selector: *selector, range })), expr.start))
}

fn shift_of(expr: &mut Expr) -> Option<&mut Shift> {
    match &mut expr.node {
        Node::Selector(selector) => Some(&mut selector.shift),
        Node::Matrix(matrix) => Some(&mut matrix.selector.shift),
        Node::Subquery(subquery) => Some(&mut subquery.shift),
        _ => None,
    }
}

fn misplaced(what: &str, start: usize) -> SyntaxError {
    let message = format!(
        "{what} modifier must be preceded by an instant vector selector or range vector selector \
         or a subquery"
    );
    SyntaxError::new(start, message)
}

fn set_offset(expr: &mut Expr, offset: Duration) -> Result<(), SyntaxError> {
    let start = expr.start;
    let shift = shift_of(expr).ok_or_else(|| misplaced("offset", start))?;
    if shift.offset.as_ref().is_some_and(|offset| !offset.is_zero()) {
        return Err(SyntaxError::new(start, "offset may not be set multiple times"));
    }
    shift.offset = Some(offset);
    Ok(())
}

fn set_at(expr: &mut Expr, at: At) -> Result<(), SyntaxError> {
    let start = expr.start;
    let shift = shift_of(expr).ok_or_else(|| misplaced("@", start))?;
    if shift.at.is_some() {
        return Err(SyntaxError::new(start, "@ <timestamp> may not be set multiple times"));
    }
    shift.at = Some(at);
    Ok(())
}

fn set_edges(expr: &mut Expr, edges: Edges) -> Result<(), SyntaxError> {
    let start = expr.start;
    let word = edges.keyword().unwrap_or_default();
    let error = |message: String| Err(SyntaxError::new(start, message));
    let current = match &mut expr.node {
        Node::Selector(selector) => &mut selector.edges,
        Node::Matrix(matrix) => &mut matrix.selector.edges,
        Node::Subquery(_) => {
            return error(format!("{word} modifier is not supported for subqueries"));
        }
        _ => return error(format!("{word} modifier not implemented")),
    };
    if *current != Edges::Exact && *current != edges {
        return error("anchored and smoothed modifiers cannot be used together".to_owned());
    }
    *current = edges;
    Ok(())
}

/// The text of a string literal.
pub(super) fn text(token: Token<'_>) -> Result<String, SyntaxError> {
    let text = quote::unquote(token.text);
    text.ok_or_else(|| SyntaxError::new(token.start, "string is not valid UTF-8"))
}

fn leaf(node: Node, start: usize) -> Expr {
    Expr { node, start, depth: 1 }
}

fn node(node: Node, start: usize, depth: usize) -> Result<Expr, SyntaxError> {
    if depth > DEPTH_MAX {
        return Err(SyntaxError::too_deep(start));
    }
    Ok(Expr { node, start, depth })
}

fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eq
        | BinaryOp::Ne
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => SIGN,
        BinaryOp::Pow => 6,
    }
}

/// Whether a token may be the name of a metric: names and many keywords.
fn is_name(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Identifier
            | Kind::MetricIdentifier
            | Kind::Aggregator(_)
            | Kind::Start
            | Kind::Finish
            | Kind::Binary(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
            | Kind::Keyword(
                Keyword::By
                    | Keyword::Without
                    | Keyword::Offset
                    | Keyword::Anchored
                    | Keyword::Smoothed
            )
    )
}

/// Whether a token may stand behind `group_left` without its list. A parenthesis opens the list.
fn may_follow_group(kind: Kind) -> bool {
    let fill =
        matches!(kind, Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight));
    fill || (kind != Kind::LeftParen && begins_expr(kind))
}

fn begins_expr(kind: Kind) -> bool {
    is_name(kind)
        || matches!(
            kind,
            Kind::Number
                | Kind::Duration
                | Kind::Text
                | Kind::LeftParen
                | Kind::LeftBrace
                | Kind::Binary(BinaryOp::Add | BinaryOp::Sub)
        )
}
