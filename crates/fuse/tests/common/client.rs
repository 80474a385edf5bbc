//! A program on the mount: another process, which does what it is told.
//!
//! It is the test's own binary again, with one test (see [`serve`]) that obeys lines on its
//! standard input. A process that dies with files of its own mount in use could not be cleaned
//! up by the kernel, which would wait for the mount; so programs are never the process that mounts.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::fs::{FallocateFlags, SeekFrom};

use super::kernel_map::KernelMap;

/// Set for the program.
const VARIABLE: &str = "LIMPID_TEST_CLIENT";
/// How an answer begins; what else is on standard output is of the test harness.
const ANSWER: &str = "= ";

/// The program, as the test sees it. It ends with this.
pub struct Client {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Client {
    /// Starts the program; the test binary must have a test `client` that calls [`serve`].
    pub fn new() -> Client {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "client", "--nocapture", "--test-threads=1"]).env(VARIABLE, "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Client { child, input, output: BufReader::new(output) }
    }

    /// Tells the program to do something.
    pub fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    /// What it answers.
    pub fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let len = self.output.read_line(&mut line).unwrap();
            assert_ne!(len, 0, "the program has ended: {:?}", self.child.try_wait());
            // The harness may have begun the line.
            if let Some((_, answer)) = line.trim_end().split_once(ANSWER) {
                return answer.to_owned();
            }
        }
    }

    /// Both.
    pub fn ask(&mut self, what: &str) -> String {
        self.tell(what);
        self.answer()
    }

    /// The signal the program dies of.
    pub fn died_of(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        self.child.wait().unwrap().signal()
    }

    /// A number.
    pub fn number(&mut self, what: &str) -> u64 {
        self.ask(what).parse().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the program has open.
#[derive(Default)]
struct Program {
    file: Option<File>,
    map: Option<KernelMap>,
}

/// How a call ended: `ok`, or the number of the error.
fn said(result: rustix::io::Result<()>) -> String {
    result.map_or_else(|error| error.raw_os_error().to_string(), |()| "ok".to_owned())
}

/// Obeys, if this process is the program.
pub fn serve() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    // The test may die; nothing of it stays.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let mut program = Program::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let answer = program.obey(&words);
        println!("{ANSWER}{answer}");
    }
}

impl Program {
    fn file(&self) -> &File {
        self.file.as_ref().expect("opened before")
    }

    fn map(&self) -> &KernelMap {
        self.map.as_ref().expect("mapped before")
    }

    /// lseek(2): where it leads, or `none`.
    fn seek(&self, to: SeekFrom) -> String {
        match rustix::fs::seek(self.file(), to) {
            Ok(at) => at.to_string(),
            Err(rustix::io::Errno::NXIO) => "none".to_owned(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Copies all bytes to a new file by copy_file_range(2); how many.
    fn copy_range(&self, path: &str) -> u64 {
        let to = File::create(path).unwrap();
        let len = self.file().metadata().unwrap().len();
        let (mut from, mut at) = (0, 0);
        while from < len {
            let left = (len - from) as usize;
            let copied =
                rustix::fs::copy_file_range(self.file(), Some(&mut from), &to, Some(&mut at), left);
            if copied.unwrap() == 0 {
                break;
            }
        }
        at
    }

    /// Calls that fail at times, and some that make a file longer.
    fn obey_call(&mut self, words: &[&str]) -> String {
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        match words[0] {
            "truncate" => self.file().set_len(number(1)).unwrap(),
            "fallocate" => {
                let flags = FallocateFlags::empty();
                rustix::fs::fallocate(self.file(), flags, number(1), number(2)).unwrap();
            }
            "copy_into" => {
                let (mut from, mut to) = (0, number(1));
                let file = self.file();
                let copied =
                    rustix::fs::copy_file_range(file, Some(&mut from), file, Some(&mut to), 8);
                assert_eq!(copied, Ok(8));
            }
            "copy_from?" => {
                let to = File::create(words[2]).unwrap();
                let (mut from, file) = (number(1), self.file());
                let copied = rustix::fs::copy_file_range(file, Some(&mut from), &to, None, 8);
                return said(copied.map(|_| ()));
            }
            "fsync?" => return said(rustix::fs::fsync(self.file())),
            "msync?" => return said(self.map().sync()),
            "read?" => {
                let read = rustix::io::pread(self.file(), &mut [0; 8][..], number(1));
                return said(read.map(|_| ()));
            }
            "unmap" => self.map = None,
            // The kernel's pages of the file, as far as nobody has them mapped.
            "evict" => {
                let advice = rustix::fs::Advice::DontNeed;
                rustix::fs::fadvise(self.file(), 0, None, advice).unwrap();
            }
            "close?" => {
                let file = self.file.take().expect("opened before");
                return said(super::kernel_map::close(file));
            }
            other => panic!("no such command: {other}"),
        }
        "done".to_owned()
    }

    fn obey(&mut self, words: &[&str]) -> String {
        if let Some(answer) = super::worker::obey(self.file.as_ref(), self.map.as_ref(), words) {
            return answer;
        }
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        let word = |bytes: [u8; 8]| u64::from_ne_bytes(bytes).to_string();
        match words[0] {
            "open" => {
                let file = OpenOptions::new().read(true).write(true).open(words[1]);
                self.file = Some(file.unwrap());
            }
            "map" => self.map = Some(KernelMap::new(self.file(), number(1) as usize)),
            "close" => *self = Program::default(),
            "load" => return self.map().load(number(1) as usize).to_string(),
            "store" => self.map().store(number(1) as usize, number(2)),
            "read" => {
                let mut bytes = [0; 8];
                self.file().read_exact_at(&mut bytes, number(1)).unwrap();
                return word(bytes);
            }
            "write" => self.file().write_all_at(&number(2).to_ne_bytes(), number(1)).unwrap(),
            "len" => return self.file().metadata().unwrap().len().to_string(),
            "blocks" => return self.file().metadata().unwrap().blocks().to_string(),
            "seek_data" => return self.seek(SeekFrom::Data(number(1))),
            "seek_hole" => return self.seek(SeekFrom::Hole(number(1))),
            "copy_range" => return self.copy_range(words[1]).to_string(),
            "punch" => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(self.file(), flags, number(1), number(2)).unwrap();
            }
            "nlink" => return self.file().metadata().unwrap().nlink().to_string(),
            "sync" => self.file().sync_all().unwrap(),
            "exists" => return Path::new(words[1]).exists().to_string(),
            "mode" => return (fs::metadata(words[1]).unwrap().mode() & 0o7777).to_string(),
            "links" => return fs::metadata(words[1]).unwrap().nlink().to_string(),
            "count" => return fs::read_dir(words[1]).unwrap().count().to_string(),
            "cat" => return fs::read_to_string(words[1]).unwrap(),
            "open_to_append" => {
                self.file = Some(OpenOptions::new().append(true).open(words[1]).unwrap());
            }
            "record" => {
                let record = super::records::record(number(1), number(2));
                self.file().write_all(&record).unwrap();
            }
            "append" => return super::records::append(words[1], number(2), number(3)).to_string(),
            "check" => {
                let counts = super::records::check(&fs::read(words[1]).unwrap());
                return counts.into_values().sum::<u64>().to_string();
            }
            "race" => return super::race::run_program(&words[1..]).to_string(),
            _ => return self.obey_call(words),
        }
        "done".to_owned()
    }
}
