//! What a program does with one file for the model test: bytes that follow from a seed go in, and
//! sums of bytes come out.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};

use super::kernel_map::KernelMap;

/// Bytes that follow from a seed; none of them is zero.
pub fn fill(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 | 1
    };
    (0..len).map(next).collect()
}

/// A sum that tells bytes apart, and where they lie.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325 ^ bytes.len() as u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What was done, and whether it went well.
fn ended(result: std::io::Result<()>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |()| "ok".to_owned())
}

/// The first bytes of a file that may not be there.
fn peek(path: &str) -> std::io::Result<()> {
    File::open(path)?.read_at(&mut [0; 64], 0).map(|_| ())
}

/// Obeys a command about bytes of the open file, or about names; none if it is another one.
pub fn obey(file: Option<&File>, map: Option<&KernelMap>, words: &[&str]) -> Option<String> {
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let file = || file.expect("opened before");
    let answer = match words[0] {
        "fill" => {
            let bytes = fill(number(3), number(2) as usize);
            ended(file().write_all_at(&bytes, number(1)))
        }
        "append_fill" => {
            let mut end = OpenOptions::new().append(true).open(words[1]).unwrap();
            ended(end.write_all(&fill(number(3), number(2) as usize)))
        }
        "store_fill" => {
            let bytes = fill(number(3), number(2) as usize);
            for (index, word) in bytes.chunks_exact(8).enumerate() {
                let value = u64::from_ne_bytes(word.try_into().unwrap());
                map.expect("mapped before").store(number(1) as usize + 8 * index, value);
            }
            "ok".to_owned()
        }
        "sum" => {
            let mut bytes = vec![0; number(2) as usize];
            let mut len = 0;
            while len < bytes.len() {
                match file().read_at(&mut bytes[len..], number(1) + len as u64).unwrap() {
                    0 => break,
                    more => len += more,
                }
            }
            sum(&bytes[..len]).to_string()
        }
        "sum_map" => {
            let map = map.expect("mapped before");
            let words = (number(1) as usize..(number(1) + number(2)) as usize).step_by(8);
            let bytes: Vec<u8> = words.flat_map(|at| map.load(at).to_ne_bytes()).collect();
            sum(&bytes).to_string()
        }
        "versions" => {
            let mut bytes = vec![0; number(2) as usize];
            file().read_exact_at(&mut bytes, number(1)).unwrap();
            let words =
                bytes.chunks(4096).map(|page| u64::from_ne_bytes(page[..8].try_into().unwrap()));
            words.map(|word| word.to_string()).collect::<Vec<_>>().join(",")
        }
        "peek" => ended(peek(words[1])),
        "make" => ended(File::create_new(words[1]).map(|_| ())),
        "remove" => ended(fs::remove_file(words[1])),
        "rename" => ended(fs::rename(words[1], words[2])),
        "link" => ended(fs::hard_link(words[1], words[2])),
        "facts" => match fs::metadata(words[1]) {
            Ok(found) => format!("{} {} {}", found.ino(), found.len(), found.nlink()),
            Err(error) => format!("{:?}", error.kind()),
        },
        "names" => {
            let entries = fs::read_dir(words[1]).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names.join(",")
        }
        _ => return None,
    };
    Some(answer)
}
