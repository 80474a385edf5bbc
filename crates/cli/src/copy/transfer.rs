//! From the command line to pairs of source and target, by the rules of `cp` and `mv`.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use limpid::FileKind;

use super::host::HostTree;
use super::place::Place;
use super::pool::PoolTree;
use super::tree::{HOST, Tree};
use crate::failure::{Failure, Result};
use crate::pool_path::Location;
use crate::pools::{self, Access};

/// What goes where.
pub struct Transfer {
    /// Sources with the very names they get.
    pub pairs: Vec<(Place, Place)>,
}

impl Transfer {
    /// The plan of a copy: only the destination's pool is written. `follow`: of a symbolic link as
    /// a source, what it leads to is copied.
    pub fn copy(sources: &[OsString], destination: &OsStr, follow: bool) -> Result<Transfer> {
        Transfer::plan(sources, destination, Access::Read, follow)
    }

    /// The plan of a move: the sources' pools are written too.
    pub fn r#move(sources: &[OsString], destination: &OsStr) -> Result<Transfer> {
        Transfer::plan(sources, destination, Access::Write, false)
    }

    fn plan(
        sources: &[OsString],
        destination: &OsStr,
        access: Access,
        follow: bool,
    ) -> Result<Transfer> {
        let locations: Result<Vec<Location>> =
            sources.iter().map(|source| Location::parse(source)).collect();
        let (locations, target) = (locations?, Location::parse(destination)?);
        let on_host = |location: &Location| matches!(location, Location::Host(_));
        if on_host(&target)
            && let Some(at) = locations.iter().position(on_host)
        {
            let place = Path::new(&sources[at]).display();
            let advice = "write POOL:/path, or use the system's command";
            return Err(Failure::usage("neither source nor target is in a pool", place, advice));
        }
        let mut trees = Trees::default();
        // The pool that is written is opened first, so that it is not opened as a source only.
        let target = trees.place(target, Access::Write)?;
        let mut places = Vec::new();
        for location in locations {
            places.push(trees.place(location, access)?);
        }
        let pairs = pair(places, target, destination, follow)?;
        refuse_clashes(&pairs)?;
        Ok(Transfer { pairs })
    }
}

fn pair(
    sources: Vec<Place>,
    target: Place,
    written: &OsStr,
    follow: bool,
) -> Result<Vec<(Place, Place)>> {
    if target.leads_to().is_some_and(|node| node.kind == FileKind::Directory) {
        let into = |source: Place| {
            let inner = match source.name() {
                Some(name) => target.join(name),
                // The root, `.` and `..` have no name: their contents go into the directory.
                None => target.join("."),
            };
            (source, inner)
        };
        return Ok(sources.into_iter().map(into).collect());
    }
    if sources.len() > 1 {
        return Err(Failure::new("not a directory", &target, "several files need a directory"));
    }
    let mut pairs = Vec::new();
    for source in sources {
        let is_directory = source.require(follow)?.kind == FileKind::Directory;
        if !is_directory && written.as_bytes().ends_with(b"/") {
            return Err(Failure::new("no such directory", &target, "make it first"));
        }
        pairs.push((source, target.clone()));
    }
    Ok(pairs)
}

/// Two sources of one name would leave only the second.
fn refuse_clashes(pairs: &[(Place, Place)]) -> Result<()> {
    let mut seen = HashSet::new();
    for (source, target) in pairs {
        if source.name().is_some() && !seen.insert(&target.path) {
            let what = "two sources have the same name";
            return Err(Failure::usage(what, source, "give them one after the other"));
        }
    }
    Ok(())
}

/// The trees of a command line: the host's, and that of each pool once.
#[derive(Default)]
struct Trees {
    host: Option<Rc<dyn Tree>>,
    pools: Vec<(std::path::PathBuf, Rc<dyn Tree>)>,
}

impl Trees {
    fn place(&mut self, location: Location, access: Access) -> Result<Place> {
        let (tree, path) = match location {
            Location::Host(path) => {
                (self.host.get_or_insert_with(|| Rc::new(HostTree)).clone(), path)
            }
            Location::Pool(path) => (self.pool(&path.pool, access)?, path.path),
        };
        Ok(Place { tree, path })
    }

    fn pool(&mut self, path: &Path, access: Access) -> Result<Rc<dyn Tree>> {
        let key = pools::key(path);
        if let Some((_, tree)) = self.pools.iter().find(|(open, _)| *open == key) {
            return Ok(tree.clone());
        }
        let pool = pools::open(path, access)?;
        let number = HOST + 1 + self.pools.len();
        let tree: Rc<dyn Tree> = Rc::new(PoolTree::new(pool, path, number));
        self.pools.push((key, tree.clone()));
        Ok(tree)
    }
}
