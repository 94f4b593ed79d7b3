//! From pieces to the tree. Refuses what Go refuses when a template is parsed.

use super::ast::{Branch, BranchKind, Command, Node, Operand, Pipe, Tree};
use super::functions;
use super::lexer::{Piece, Problem, Token, pieces};

/// How deep blocks and parentheses may nest; deeper is no text for people, and recursion is bounded
/// by it.
const DEPTH_MAX: usize = 50;

/// The variables Prometheus declares before a template.
const GIVEN: [&str; 5] = ["$", "$labels", "$externalLabels", "$externalURL", "$value"];

/// The tree of a template, or the line and what is wrong there.
pub(super) fn parse(source: &str) -> Result<Tree, Problem> {
    parse_with(source, functions::exists)
}

/// The same with these functions.
pub(super) fn parse_with(source: &str, exists: fn(&str) -> bool) -> Result<Tree, Problem> {
    let mut parser = Parser {
        exists,
        pieces: pieces(source)?.into_iter(),
        line: 1,
        variables: GIVEN.iter().map(|name| (*name).to_owned()).collect(),
        loops: 0,
        depth: 0,
        tree: Tree::default(),
    };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Whole => {
            parser.tree.nodes = nodes;
            Ok(parser.tree)
        }
        Stop::End => Err(parser.problem("unexpected {{end}}")),
        Stop::Else(_) => Err(parser.problem("unexpected {{else}}")),
    }
}

struct Parser {
    /// Whether there is a function of this name.
    exists: fn(&str) -> bool,
    pieces: std::vec::IntoIter<Piece>,
    line: usize,
    /// Variables in scope, innermost last.
    variables: Vec<String>,
    /// How many ranges are open around here.
    loops: usize,
    depth: usize,
    tree: Tree,
}

/// What ended a list of nodes; the tokens behind `else`.
enum Stop {
    Whole,
    End,
    Else(Vec<Token>),
}

impl Parser {
    fn problem(&self, message: impl Into<String>) -> Problem {
        (self.line, message.into())
    }

    fn deeper(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.problem("nested too deeply")) } else { Ok(()) }
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), Problem> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (line, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { line, tokens } => (line, tokens),
            };
            self.line = line;
            let tokens = trimmed(tokens);
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.clone(),
                None => return Err(self.problem("missing value for command")),
                Some(_) => String::new(),
            };
            let rest = trimmed(tokens.get(1..).unwrap_or_default().to_vec());
            match word.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(rest))),
                "if" => nodes.push(self.branch(BranchKind::If, &rest)?),
                "with" => nodes.push(self.branch(BranchKind::With, &rest)?),
                "range" => nodes.push(self.branch(BranchKind::Range, &rest)?),
                "define" if self.depth > 0 => {
                    return Err(self.problem("unexpected <define> in command"));
                }
                "define" => {
                    let name = self.template_name(&rest)?.0;
                    self.define(name)?;
                }
                "template" => nodes.push(self.template(&rest)?),
                "block" => {
                    let node = self.template(&rest)?;
                    let (name, value) = self.template_name(&rest)?;
                    if value.is_empty() {
                        return Err(self.problem("missing value for block clause"));
                    }
                    self.define(name)?;
                    nodes.push(node);
                }
                "break" | "continue" if rest.is_empty() => {
                    if self.loops == 0 {
                        return Err(self.problem(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                    }
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                _ => nodes.push(Node::Pipe(self.pipe(&tokens, "command", true)?)),
            }
        }
        Ok((nodes, Stop::Whole))
    }

    /// A branch up to its end. `else if` and `else with` are branches within the else.
    fn branch(&mut self, kind: BranchKind, tokens: &[Token]) -> Result<Node, Problem> {
        let (name, line) = (keyword(kind), self.line);
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.pipe(tokens, name, true)?;
        self.loops += usize::from(kind == BranchKind::Range);
        let (then, mut end) = self.list()?;
        self.loops -= usize::from(kind == BranchKind::Range);
        let mut otherwise = Vec::new();
        if let Stop::Else(rest) = end {
            let chained = match rest.first() {
                Some(Token::Word(word)) if word == "if" && kind == BranchKind::If => true,
                Some(Token::Word(word)) if word == "with" && kind == BranchKind::With => true,
                Some(_) => return Err(self.problem("unexpected text in {{else}}")),
                None => false,
            };
            if chained {
                let rest = trimmed(rest.get(1..).unwrap_or_default().to_vec());
                otherwise.push(self.branch(kind, &rest)?);
                end = Stop::End;
            } else {
                let (nodes, next) = self.list()?;
                otherwise = nodes;
                end = next;
            }
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        match end {
            Stop::End => Ok(Node::Branch(Branch { kind, pipe, then, otherwise })),
            Stop::Else(_) => Err(self.problem("expected end; found {{else}}")),
            Stop::Whole => Err((line, format!("unexpected EOF: {{{{{name}}}}} is not closed"))),
        }
    }

    fn define(&mut self, name: String) -> Result<(), Problem> {
        self.deeper()?;
        // A definition sees nothing of what is around it but the given variables: not even those,
        // in Go; Prometheus puts them before the text of the rule only.
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.list()?;
        self.variables = outer;
        self.loops = loops;
        self.depth -= 1;
        match end {
            Stop::End => {
                self.tree.defined.insert(name, nodes);
                Ok(())
            }
            Stop::Else(_) | Stop::Whole => {
                Err(self.problem(format!("{{{{define {name:?}}}}} is not closed")))
            }
        }
    }

    fn template(&mut self, tokens: &[Token]) -> Result<Node, Problem> {
        let (name, rest) = self.template_name(tokens)?;
        let pipe = if rest.is_empty() { None } else { Some(self.pipe(&rest, "template", false)?) };
        Ok(Node::Template { name, pipe })
    }

    fn template_name(&self, tokens: &[Token]) -> Result<(String, Vec<Token>), Problem> {
        match tokens.split_first() {
            Some((Token::Text(name), rest)) => Ok((name.clone(), trimmed(rest.to_vec()))),
            _ => Err(self.problem("a template's name is a quoted string")),
        }
    }

    /// A pipeline with its declarations.
    fn pipe(
        &mut self,
        tokens: &[Token],
        context: &str,
        may_declare: bool,
    ) -> Result<Pipe, Problem> {
        let is_target = |t: &Token| matches!(t, Token::Variable(_) | Token::Comma | Token::Space);
        let declared = tokens
            .iter()
            .position(|token| !is_target(token))
            .filter(|at| matches!(tokens.get(*at), Some(Token::Declare | Token::Assign)));
        let mut pipe = Pipe { variables: Vec::new(), declares: true, commands: Vec::new() };
        let mut rest = tokens;
        if let Some(at) = declared {
            if !may_declare {
                return Err(self.problem(format!("unexpected declaration in {context}")));
            }
            let (left, right) = tokens.split_at(at);
            pipe.declares = matches!(right.first(), Some(Token::Declare));
            pipe.variables = self.targets(left, context)?;
            rest = right.get(1..).unwrap_or_default();
        }
        pipe.commands = self.commands(rest, context)?;
        // The variable is not yet known on its own right side.
        for name in &pipe.variables {
            // One that is assigned and was never declared is found when it is used, as in Go.
            self.variables.push(name.clone());
        }
        Ok(pipe)
    }

    fn targets(&self, tokens: &[Token], context: &str) -> Result<Vec<String>, Problem> {
        let mut names = Vec::new();
        for token in tokens {
            match token {
                Token::Variable(name) => names.push(name.clone()),
                Token::Comma | Token::Space => {}
                _ => return Err(self.problem(format!("unexpected operand before := in {context}"))),
            }
        }
        let most = if context == "range" { 2 } else { 1 };
        if names.is_empty() || names.len() > most {
            return Err(self.problem(format!("too many declarations in {context}")));
        }
        Ok(names)
    }

    fn commands(&mut self, tokens: &[Token], context: &str) -> Result<Vec<Command>, Problem> {
        let mut commands = Vec::new();
        let mut depth = 0_usize;
        let stages: Vec<&[Token]> = tokens
            .split(|token| {
                match token {
                    Token::Open => depth += 1,
                    Token::Close => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && *token == Token::Pipe
            })
            .collect();
        let len = stages.len();
        for (at, stage) in stages.into_iter().enumerate() {
            let operands = self.operands(stage)?;
            // A pipe at the very end is passed over, as in Go.
            if operands.is_empty() && at > 0 && at + 1 == len {
                break;
            }
            match operands.first() {
                None if at == 0 => return Err(self.problem(format!("missing value for {context}"))),
                None => return Err(self.problem("missing value for command")),
                // Whether these can be called shows when they are.
                Some(
                    Operand::Function(_)
                    | Operand::Fields(..)
                    | Operand::Variable(_)
                    | Operand::Pipe(_),
                ) => {}
                Some(_) if at > 0 => {
                    let stage = at + 1;
                    let message = format!("non executable command in pipeline stage {stage}");
                    return Err(self.problem(message));
                }
                Some(_) => {}
            }
            commands.push(Command(operands));
        }
        Ok(commands)
    }

    fn operands(&mut self, tokens: &[Token]) -> Result<Vec<Operand>, Problem> {
        let mut operands: Vec<Operand> = Vec::new();
        // Whether the last operand touches the next token.
        let mut touches = false;
        let mut rest = tokens;
        while let Some((token, tail)) = rest.split_first() {
            rest = tail;
            if *token == Token::Space {
                touches = false;
                continue;
            }
            if touches {
                let Token::Field(field) = token else {
                    return Err(self.problem("operands need a space between them"));
                };
                let Some(last) = operands.pop() else { continue };
                if matches!(
                    last,
                    Operand::Dot
                        | Operand::Nil
                        | Operand::Bool(_)
                        | Operand::Int(_)
                        | Operand::Float(_)
                        | Operand::Text(_)
                ) {
                    return Err(self.problem("unexpected . after a constant"));
                }
                operands.push(with_field(last, field));
                continue;
            }
            let operand = match token {
                Token::Dot => Operand::Dot,
                Token::Field(field) => with_field(Operand::Dot, field),
                Token::Int(value) => Operand::Int(*value),
                Token::Float(value) => Operand::Float(*value),
                Token::Text(text) => Operand::Text(text.clone()),
                Token::Variable(name) if self.variables.contains(name) => {
                    Operand::Variable(name.clone())
                }
                Token::Variable(name) => {
                    return Err(self.problem(format!("undefined variable {name:?}")));
                }
                Token::Word(word) => self.word(word)?,
                Token::Open => {
                    let (inner, after) = self.parenthesis(tail)?;
                    rest = after;
                    self.deeper()?;
                    let pipe = self.pipe(inner, "parenthesized pipeline", true)?;
                    self.depth -= 1;
                    Operand::Pipe(Box::new(pipe))
                }
                Token::Close => return Err(self.problem("unexpected right paren")),
                Token::Pipe | Token::Comma | Token::Assign | Token::Declare | Token::Space => {
                    return Err(self.problem("unexpected punctuation in operand"));
                }
            };
            operands.push(operand);
            touches = true;
        }
        Ok(operands)
    }

    fn word(&self, word: &str) -> Result<Operand, Problem> {
        match word {
            "true" => Ok(Operand::Bool(true)),
            "false" => Ok(Operand::Bool(false)),
            "nil" => Ok(Operand::Nil),
            name if (self.exists)(name) => Ok(Operand::Function(name.to_owned())),
            name => Err(self.problem(format!("function {name:?} not defined"))),
        }
    }

    /// The tokens up to the parenthesis that closes, and those after it.
    fn parenthesis<'t>(&self, tokens: &'t [Token]) -> Result<(&'t [Token], &'t [Token]), Problem> {
        let mut depth = 1_usize;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let (inner, after) = tokens.split_at(at);
                return Ok((inner, after.get(1..).unwrap_or_default()));
            }
        }
        Err(self.problem("unclosed left paren"))
    }
}

fn with_field(operand: Operand, field: &str) -> Operand {
    match operand {
        Operand::Fields(inner, mut fields) => {
            fields.push(field.to_owned());
            Operand::Fields(inner, fields)
        }
        other => Operand::Fields(Box::new(other), vec![field.to_owned()]),
    }
}

fn keyword(kind: BranchKind) -> &'static str {
    match kind {
        BranchKind::If => "if",
        BranchKind::With => "with",
        BranchKind::Range => "range",
    }
}

/// Tokens without the white space at their ends.
fn trimmed(mut tokens: Vec<Token>) -> Vec<Token> {
    while tokens.last() == Some(&Token::Space) {
        tokens.pop();
    }
    let leading = tokens.iter().take_while(|token| **token == Token::Space).count();
    tokens.drain(..leading);
    tokens
}
