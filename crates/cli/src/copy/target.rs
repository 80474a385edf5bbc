//! What the name that is written stands for, by the rules of GNU's `cp` and `mv`.
//!
//! `cp` writes the bytes of a file through a symbolic link, if it leads somewhere; everything else
//! takes the link's place. `mv` always takes its place.

use limpid::FileKind;

use super::place::Place;
use super::tree::Node;
use crate::failure::{Failure, Result};

/// What is done with symbolic links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Source and target are what they lead to.
    FollowLinks,
    /// A link as the source is copied as a link.
    CopyLinks,
    /// As `CopyLinks`, and a link as the target is replaced.
    Move,
}

/// Where the bytes of a file go that is copied to `target`: behind the link, if it is one.
pub fn written(target: &Place) -> Result<Place> {
    match target.node(false)? {
        Some(Node { kind: FileKind::Symlink, .. }) => match target.node(true)? {
            Some(_) => target.resolve(),
            None => {
                let what = "not writing through a symbolic link that leads nowhere";
                Err(Failure::new(what, target, "remove it, or choose another target"))
            }
        },
        _ => Ok(target.clone()),
    }
}

/// Refuses a target that is the source itself, described by `node`. True if both are names of one
/// symbolic link, of which no copy has to be made.
pub fn is_done_already(source: &Place, node: &Node, target: &Place, way: Way) -> Result<bool> {
    let refusal = Failure::new("is the same file", target, "give another target");
    let is_same = |there: Option<Node>| there.is_some_and(|there| there.id == node.id);
    if way == Way::FollowLinks {
        return if is_same(target.leads_to()) { Err(refusal) } else { Ok(false) };
    }
    let Some(there) = target.node(false)? else { return Ok(false) };
    match (node.kind == FileKind::Symlink, there.kind == FileKind::Symlink) {
        (true, true) if there.id != node.id => return Ok(false),
        (true, true) if way == Way::Move || source.is_same_name(target) => return Err(refusal),
        (true, true) => return Ok(true),
        (false, true) if way == Way::Move => return Ok(false),
        // A file with other names is not lost with this one.
        (true, false) if way == Way::Move && there.nlink > 1 && source.leads_to().is_some() => {
            let onto_itself = source.resolve()?.is_same_name(target);
            return if onto_itself { Err(refusal) } else { Ok(false) };
        }
        _ => {}
    }
    match (source.leads_to(), target.leads_to()) {
        (Some(from), Some(to)) if from.id == to.id => Err(refusal),
        _ => Ok(false),
    }
}
