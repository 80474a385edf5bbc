//! A program to be killed: `acknowledged write LABEL POOL SEED` makes a pool and works on it
//! without end, and prints a line after each operation that returned.
//! `acknowledged check POOL SEED COUNT` opens the pool again and checks that the first COUNT
//! operations are there, and of the next one nothing, all, or (where it writes in place) a mix.
//!
//! Operation n follows from SEED, n and what came before, so a line needs no more than n. The line
//! has left for the terminal before the next operation begins.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use limpid::{File, Pool, PoolOptions};

type Files = BTreeMap<String, Vec<u8>>;
/// Nothing, or what is wrong.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Names in use.
const NAMES: u64 = 6;
/// Files stay below this size in bytes.
const LIMIT: u64 = 3 << 20;

#[derive(Debug)]
enum Op {
    Create {
        name: String,
    },
    Write {
        name: String,
        at: u64,
        bytes: Vec<u8>,
    },
    Append {
        name: String,
        bytes: Vec<u8>,
    },
    SetLen {
        name: String,
        len: u64,
    },
    Punch {
        name: String,
        at: u64,
        len: u64,
    },
    /// A store through a map, and a flush of it.
    Store {
        name: String,
        at: u64,
        bytes: Vec<u8>,
    },
    Rename {
        name: String,
        to: String,
    },
    Remove {
        name: String,
    },
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}

/// Operation `number` of `seed`, after those before it made `files`.
fn operation(files: &Files, seed: u64, number: u64, maps: bool) -> Op {
    let mut random = Random(seed.wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.below(2);
    let name = format!("/f{}", random.below(NAMES));
    let Some(old) = files.get(&name) else { return Op::Create { name } };
    let size = old.len() as u64;
    let at = random.below(size.min(LIMIT - 200_000) + 9000);
    let most = if random.below(6) == 0 { 100_000 } else { 6000 };
    let value = random.below(255) as u8 + 1;
    let bytes = vec![value; 1 + random.below(most) as usize];
    match random.below(16) {
        0..5 => Op::Write { name, at, bytes },
        5..8 if size < LIMIT - 200_000 => Op::Append { name, bytes },
        8 => Op::SetLen { name, len: random.below(LIMIT) },
        9 | 10 => Op::Punch { name, at, len: bytes.len() as u64 },
        11 => Op::Rename { name, to: format!("/f{}", random.below(NAMES)) },
        12 => Op::Remove { name },
        _ if maps && size > 0 => {
            let at = at.min(size - 1);
            let len = bytes.len().min((size - at) as usize);
            Op::Store { name, at, bytes: bytes[..len].to_vec() }
        }
        _ => Op::Write { name, at, bytes },
    }
}

fn put(file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    file.resize(file.len().max(end), 0);
    file[at as usize..end].copy_from_slice(bytes);
}

fn apply_to_model(files: &mut Files, op: &Op) {
    let known = "an operation is on a file that exists";
    match op {
        Op::Create { name } => {
            files.insert(name.clone(), Vec::new());
        }
        Op::Write { name, at, bytes } | Op::Store { name, at, bytes } => {
            put(files.get_mut(name).expect(known), *at, bytes);
        }
        Op::Append { name, bytes } => files.get_mut(name).expect(known).extend(bytes),
        Op::SetLen { name, len } => files.get_mut(name).expect(known).resize(*len as usize, 0),
        Op::Punch { name, at, len } => {
            let file = files.get_mut(name).expect(known);
            let end = (at + len).min(file.len() as u64) as usize;
            file[(*at as usize).min(end)..end].fill(0);
        }
        Op::Rename { name, to } => {
            let file = files.remove(name).expect(known);
            files.insert(to.clone(), file);
        }
        Op::Remove { name } => {
            files.remove(name);
        }
    }
}

fn apply_to_pool(pool: &Pool, op: &Op) -> Outcome {
    let open =
        |name: &String| limpid::OpenOptions::new().read(true).write(true).open(pool, name.as_str());
    match op {
        Op::Create { name } => drop(File::create(pool, name)?),
        Op::Write { name, at, bytes } => open(name)?.write_all_at(bytes, *at)?,
        Op::Append { name, bytes } => drop(open(name)?.append(bytes)?),
        Op::SetLen { name, len } => open(name)?.set_len(*len)?,
        Op::Punch { name, at, len } => open(name)?.punch_hole(*at, *len)?,
        Op::Store { name, at, bytes } => {
            let map = open(name)?.map_mut()?;
            let at = *at as usize;
            map.write(at, bytes)?;
            map.flush(at..at + bytes.len())?;
        }
        Op::Rename { name, to } => pool.rename(name, to)?,
        Op::Remove { name } => pool.remove_file(name)?,
    }
    Ok(())
}

/// Whether small files can be mapped.
fn has_maps(pool: &Pool) -> bool {
    let info = pool.info();
    info.medium_line.contains(" 4 KiB units") && !info.maps_line.starts_with("none")
}

/// Works on a new pool until it is killed.
pub fn write(label: &str, path: &str, seed: u64) -> Outcome {
    let pool = PoolOptions::new().overwrite(true).create(path, 64 << 20)?;
    let maps = has_maps(&pool);
    let mut files = Files::new();
    let mut out = std::io::stdout();
    for number in 0.. {
        let op = operation(&files, seed, number, maps);
        apply_to_pool(&pool, &op)?;
        apply_to_model(&mut files, &op);
        writeln!(out, "@guest ack {label} {}", number + 1)?;
        out.flush()?;
        // Not a terminal: then the line is where it goes already.
        let _ = rustix::termios::tcdrain(&out);
    }
    Ok(())
}

fn contents(pool: &Pool) -> Result<Files, Box<dyn std::error::Error>> {
    let mut files = Files::new();
    for number in 0..NAMES {
        let name = format!("/f{number}");
        if pool.exists(&name) {
            let bytes = pool.read(&name)?;
            files.insert(name, bytes);
        }
    }
    Ok(files)
}

/// Whether `found` is `before`, or `after`, or, for an operation in place, a mix byte by byte.
fn agrees(found: &Files, before: &Files, after: &Files, in_place: bool) -> Outcome {
    if found == before || found == after {
        return Ok(());
    }
    if !in_place || !found.keys().eq(before.keys()) {
        return Err("neither what was before the last operation nor what is after it".into());
    }
    for (name, bytes) in found {
        let (old, new) = (&before[name], &after[name]);
        if bytes.len() != old.len() && bytes.len() != new.len() {
            return Err(format!("{name} has {} bytes", bytes.len()).into());
        }
        let wrong = bytes.iter().enumerate().position(|(at, byte)| {
            let byte = Some(byte);
            byte != old.get(at) && byte != new.get(at)
        });
        if let Some(at) = wrong {
            return Err(format!("byte {at} of {name} is neither the old one nor the new").into());
        }
    }
    Ok(())
}

/// Checks what a killed writer left behind, of which `count` operations were acknowledged.
pub fn check(path: &str, seed: u64, count: u64) -> Outcome {
    let pool = Pool::open(path)?;
    println!("recovered {} transactions, closed properly: {}", pool.info().recovered, {
        pool.info().clean
    });
    let maps = has_maps(&pool);
    let mut before = Files::new();
    for number in 0..count {
        let op = operation(&before, seed, number, maps);
        apply_to_model(&mut before, &op);
    }
    let last = operation(&before, seed, count, maps);
    let mut after = before.clone();
    apply_to_model(&mut after, &last);
    let in_place =
        matches!(last, Op::Write { .. } | Op::Append { .. } | Op::Store { .. } | Op::Punch { .. });
    let found = contents(&pool)?;
    agrees(&found, &before, &after, in_place)?;
    // A checker that accepts anything is none.
    let mut wrong = found.clone();
    wrong.insert("/f0".into(), b"never written".to_vec());
    if agrees(&wrong, &before, &after, in_place).is_ok() {
        return Err("the check accepts what was never written".into());
    }
    let problems = pool.check()?;
    if let Some(problem) = problems.first() {
        return Err(format!("{} problems: {problem}", problems.len()).into());
    }
    pool.write("/more", b"the pool goes on")?;
    println!("{count} operations are there, {} files", found.len());
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>();
    let result = match words[..] {
        ["write", label, path, seed] => number(seed).map(|seed| write(label, path, seed)),
        ["check", path, seed, count] => match (number(seed), number(count)) {
            (Ok(seed), Ok(count)) => Ok(check(path, seed, count)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        },
        _ => {
            eprintln!("usage: acknowledged write LABEL POOL SEED | check POOL SEED COUNT");
            return ExitCode::from(2);
        }
    };
    match result.map_err(Into::into).and_then(|outcome| outcome) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("acknowledged: {error}");
            ExitCode::FAILURE
        }
    }
}
