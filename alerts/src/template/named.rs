//! Which labels a template names, for checks of rules: `$labels.x`, `.Labels.x` where the dot is what
//! the template is rendered over, and `index $labels "x"`.

use std::collections::BTreeSet;

use super::ast::{BranchKind, Command, Node, Operand, Pipe, Tree};

/// The labels that `tree` names.
pub(super) fn labels(tree: &Tree) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    in_nodes(&tree.nodes, true, &mut found);
    // What the dot is there is whoever's who uses it.
    tree.defined.values().for_each(|nodes| in_nodes(nodes, false, &mut found));
    found
}

/// `is_top` says whether the dot is what the template is rendered over.
fn in_nodes(nodes: &[Node], is_top: bool, found: &mut BTreeSet<String>) {
    for node in nodes {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Pipe(pipe) => in_pipe(pipe, is_top, found),
            Node::Template { pipe, .. } => {
                pipe.iter().for_each(|pipe| in_pipe(pipe, is_top, found));
            }
            Node::Branch(branch) => {
                in_pipe(&branch.pipe, is_top, found);
                let keeps_dot = branch.kind == BranchKind::If;
                in_nodes(&branch.then, is_top && keeps_dot, found);
                in_nodes(&branch.otherwise, is_top, found);
            }
        }
    }
}

fn in_pipe(pipe: &Pipe, is_top: bool, found: &mut BTreeSet<String>) {
    for Command(operands) in &pipe.commands {
        if let [Operand::Function(name), Operand::Variable(of), Operand::Text(label)] =
            &operands[..]
            && (name.as_str(), of.as_str()) == ("index", "$labels")
        {
            found.insert(label.clone());
        }
        operands.iter().for_each(|operand| in_operand(operand, is_top, found));
    }
}

fn in_operand(operand: &Operand, is_top: bool, found: &mut BTreeSet<String>) {
    match operand {
        Operand::Pipe(pipe) => in_pipe(pipe, is_top, found),
        Operand::Fields(of, names) => match (&**of, &names[..]) {
            (Operand::Variable(name), [label, ..]) if name == "$labels" => {
                found.insert(label.clone());
            }
            (Operand::Dot, [field, label, ..]) if is_top && field == "Labels" => {
                found.insert(label.clone());
            }
            (of, _) => in_operand(of, is_top, found),
        },
        _ => {}
    }
}
