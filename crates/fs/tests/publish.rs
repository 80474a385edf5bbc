//! Goal: publishing is conditional, page by page, and gives back what it does not publish.
//! Method: two publishers of the same pages, as a write and a fault would be, by hand.

mod support;

use limpid_dax::{Backing, Extent, Intent, Iomap, PageRange, Published};
use limpid_fs::BLOCK;
use limpid_pmem::{MediaError, Persist};
use support::{FILE, MIB, pool, read, write};

#[test]
fn the_first_to_publish_wins() {
    let fs = pool(16 * MIB);
    let media = fs.media().clone();
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    file.set_size(10 * BLOCK).unwrap();
    let free = fs.statfs().free;
    let pages = PageRange::new(2, 6);
    let slow = file.begin(pages, Intent::Write).unwrap();
    assert_eq!((slow.backing, slow.pages), (Backing::New, pages));
    media.write(slow.device, &[1; 4 * BLOCK as usize], Persist::Yes).unwrap();
    // Page 3 gets a block from somebody else meanwhile.
    write(&file, &*media, 3 * BLOCK, &[2; BLOCK as usize]).unwrap();
    let none = &mut |_| panic!("all was written");
    let published = file.publish(&[slow], pages.bytes(), true, none).unwrap();
    assert_eq!(published, Published::Some);
    assert_eq!(read(&file, &*media, 3 * BLOCK, BLOCK), [2; BLOCK as usize]);
    assert_eq!(read(&file, &*media, 2 * BLOCK, BLOCK), [1; BLOCK as usize]);
    assert_eq!(read(&file, &*media, 4 * BLOCK, BLOCK), [1; BLOCK as usize]);
    assert_eq!(fs.statfs().free, free - 4);
    assert_eq!(fs.check(), []);
}

#[test]
fn lost_pages_leave_nothing_past_the_end() {
    let fs = pool(16 * MIB);
    let media = fs.media().clone();
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    file.set_size(3 * BLOCK).unwrap();
    let pages = PageRange::new(1, 8);
    let append = file.begin(pages, Intent::Write).unwrap();
    media.write(append.device, &[1; 7 * BLOCK as usize], Persist::Yes).unwrap();
    write(&file, &*media, BLOCK, &[2; 10]).unwrap();
    let none = &mut |_| panic!("all was written");
    let published = file.publish(&[append], pages.bytes(), true, none).unwrap();
    assert_eq!((published, file.size()), (Published::Some, 3 * BLOCK));
    assert_eq!(fs.check(), []);
    assert_eq!(file.attributes().blocks, 2);
    // The caller tries again, and finds page 1 and 2 mapped.
    write(&file, &*media, BLOCK, &[1; 7 * BLOCK as usize]).unwrap();
    assert_eq!(file.size(), 8 * BLOCK);
    assert_eq!(fs.check(), []);
}

#[test]
fn unwritten_pages_are_zeroed_where_they_are_not_written() {
    let fs = pool(16 * MIB);
    let media = fs.media().clone();
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    file.allocate(PageRange::new(0, 4), Some(4 * BLOCK)).unwrap();
    let extent = file.begin(PageRange::new(0, 4), Intent::Write).unwrap();
    assert_eq!(extent.backing, Backing::Unwritten);
    // What the blocks held before must not show.
    media.write(extent.device, &[0xee; 4 * BLOCK as usize], Persist::Yes).unwrap();
    media.write(extent.device + 5000, &[1; 100], Persist::Yes).unwrap();
    let mut zeroed = Vec::new();
    let zero = &mut |range: std::ops::Range<u64>| {
        zeroed.push(range.start - extent.device..range.end - extent.device);
        media.zero(range, Persist::Yes)
    };
    file.publish(&[extent], 5000..5100, false, zero).unwrap();
    assert_eq!(zeroed, [0..5000, 5100..4 * BLOCK]);
    let bytes = read(&file, &*media, 0, 4 * BLOCK);
    assert!(
        bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| { *byte == u8::from((5000..5100).contains(&at)) })
    );
    let again = file.publish(&[extent], 0..4 * BLOCK, false, &mut |_| Ok(())).unwrap();
    assert_eq!(again, Published::Some);
    assert_eq!(fs.check(), []);
}

#[test]
fn failures_give_the_blocks_back() {
    let fs = pool(16 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    write(&file, &**fs.media(), 0, &[1; 10]).unwrap();
    let free = fs.statfs().free;
    let extent = file.begin(PageRange::new(5, 9), Intent::Write).unwrap();
    assert_eq!(fs.statfs().free, free - 4);
    let fail = &mut |_| Err(MediaError::Io { at: 0 });
    file.publish(&[extent], 6 * BLOCK..7 * BLOCK, true, fail).unwrap_err();
    assert_eq!((fs.statfs().free, file.size()), (free, 10));
    let extent = file.begin(PageRange::new(5, 9), Intent::Write).unwrap();
    file.abandon(&extent);
    file.abandon(&Extent { pages: PageRange::new(1, 2), device: 0, backing: Backing::Hole });
    assert_eq!(fs.statfs().free, free);
    assert_eq!(fs.check(), []);
}
