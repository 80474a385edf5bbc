//! Loads and stores through a map: try, fault, try again.

use limpid_dax::{Access, Mapping, Vma};

use crate::history::{local, value_name};
use crate::lab::Cfg;
use crate::ops::fault;
use crate::sim::{Meets, Subject};
use crate::world::{self, Pending, SimBug};

/// Loads a cell through a map; the value `PAST` is SIGBUS past the end.
pub(crate) fn load<B: Subject>(
    mapping: &Mapping<Cfg<B>>,
    vma: &Vma,
    map: usize,
    cell: u32,
) -> Meets {
    loop {
        world::step(Pending::Step, || format!("load {}[{cell}]", (b'p' + map as u8) as char));
        let meets = world::with(|world| {
            let meets = world.tables[map].load(cell, &world.medium);
            world.observe(meets);
            if let Meets::Value(value) = meets
                && world.tables[map].private_copy(local(cell) / 2).is_none()
            {
                world.loaded(cell, value);
            }
            meets
        });
        match meets {
            Meets::Value(value) => {
                world::note(|| value_name(value));
                return meets;
            }
            Meets::Refused => {
                world::note(|| "SIGBUS".into());
                return meets;
            }
            Meets::Fault => {
                world::note(|| "FAULT".into());
                if !fault(mapping, vma, cell, Access::Load) {
                    return Meets::Refused;
                }
            }
        }
    }
}

/// Stores to a cell through a map; false is SIGBUS.
pub(crate) fn store<B: Subject>(
    mapping: &Mapping<Cfg<B>>,
    vma: &Vma,
    map: usize,
    cell: u32,
    value: u8,
) -> bool {
    loop {
        world::step(Pending::Step, || {
            format!("store {} to {}[{cell}]", value_name(value), (b'p' + map as u8) as char)
        });
        let meets = world::with(|world| {
            let meets = world.tables[map].store(cell, value);
            world.observe(meets);
            if let Ok(Some(device)) = meets {
                if world.own.any(device / 2..device / 2 + 1, crate::sim::Owner::Free) {
                    let seen = format!("stored {} to a free block", value_name(value));
                    world.fail("C3", seen);
                }
                world.medium.store(device..device + 1, value);
                world.landed(cell, value);
            } else if let Err(Meets::Value(value)) = meets {
                world.loaded(cell, value);
            } else if meets == Ok(None) {
                world.stored_to_copy(map, cell, value);
            }
            meets
        });
        match meets {
            Ok(_) => {
                world::note(|| "done".into());
                if world::with(|world| world.bug == SimBug::StoreLandsTwice) {
                    land_again(map, cell, value);
                }
                return true;
            }
            Err(Meets::Value(_) | Meets::Refused) => {
                world::note(|| "SIGBUS".into());
                return false;
            }
            Err(Meets::Fault) => {
                world::note(|| "FAULT".into());
                if !fault(mapping, vma, cell, Access::Store) {
                    return false;
                }
            }
        }
    }
}

/// A planted bug: the store is done a second time, if the page still shows the file.
fn land_again(map: usize, cell: u32, value: u8) {
    world::step(Pending::Step, || format!("store {} again", value_name(value)));
    world::with(|world| {
        if let Ok(Some(device)) = world.tables[map].store(cell, value) {
            world.medium.store(device..device + 1, value);
        }
    });
}
