//! Goal: the typestates make exactly the medium's operations, in the right order, and the recorder
//! notes what was done and nothing else.
//! Method: the log of a recorder over heap memory. The canary is a medium that fails.

use limpid_pmem::persist::{self, Clean};
use limpid_pmem::{Durability, Media, MediaError, Op, Persist, Recorder, VecMedia};

fn ops(recorder: &Recorder<VecMedia>) -> Vec<Op> {
    recorder.take().into_iter().map(|event| event.op).collect()
}

fn store(at: u64, bytes: &[u8]) -> Op {
    Op::Store { at, bytes: bytes.into() }
}

#[test]
fn two_records_share_a_fence() {
    let media = Recorder::new(VecMedia::new(8192).with_durability(Durability::Power));
    let first = persist::store(&media, 0, b"one", 1).unwrap().flush();
    let second = persist::store_through(&media, 4096, b"two", 2).unwrap();
    let (first, second): (Clean<i32>, Clean<i32>) = first.and(second).fence().split();
    assert_eq!((first.into_inner(), *second.get()), (1, 2));
    assert_eq!(
        ops(&media),
        [store(0, b"one"), Op::Flush(0..3), store(4096, b"two"), Op::Flush(4096..4099), Op::Fence]
    );
    let word = persist::store_u64(&media, 64, 7, ()).unwrap().flush().fence();
    assert_eq!(word.get(), &());
    assert_eq!(ops(&media), [store(64, &7_u64.to_ne_bytes()), Op::Flush(64..72), Op::Fence]);
}

#[test]
#[should_panic(expected = "two media")]
fn records_on_two_media_share_no_fence() {
    let (one, two) = (VecMedia::new(4096), VecMedia::new(4096));
    let first = persist::store_through(&one, 0, b"1", ()).unwrap();
    let second = persist::store_through(&two, 0, b"2", ()).unwrap();
    drop(first.and(second));
}

#[test]
fn everything_is_recorded_as_it_was_done() {
    let media = Recorder::new(VecMedia::from_bytes(&[5; 4096]));
    media.zero(1..3, Persist::No).unwrap();
    media.copy(8, 0, 4, Persist::Yes).unwrap();
    media.sync(0..4096).unwrap();
    let log = media.take();
    assert!(log.iter().all(|event| event.thread == std::thread::current().id()));
    let log: Vec<Op> = log.into_iter().map(|event| event.op).collect();
    assert_eq!(log, [store(1, &[0; 2]), store(0, &[5; 4]), Op::Flush(0..4), Op::Sync(0..4096)]);
    assert_eq!(media.recorded(), 0);
    assert_eq!(media.into_inner().to_bytes(), vec![5; 4096]);
}

#[test]
fn the_log_replayed_gives_the_medium_whatever_the_threads_do() {
    let media = Recorder::new(VecMedia::new(4096));
    std::thread::scope(|scope| {
        for thread in 1..5_u8 {
            let media = &media;
            scope.spawn(move || {
                for round in 0..200_u64 {
                    media.write(round % 50 * 8, &[thread; 60], Persist::No).unwrap();
                }
            });
        }
    });
    let mut replayed = vec![0; 4096];
    for event in media.take() {
        let Op::Store { at, bytes } = event.op else { panic!("only stores were done") };
        replayed[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    assert!(replayed == media.into_inner().to_bytes());
}

#[test]
fn what_failed_is_not_recorded() {
    let media = Recorder::new(VecMedia::new(8192));
    media.inner().poison(100..200);
    let lost = |at| Err(MediaError::Io { at });
    assert_eq!(media.write(50, &[1; 100], Persist::Yes), lost(100));
    assert_eq!(media.zero(150..151, Persist::Yes), lost(150));
    assert_eq!(media.copy(0, 96, 8, Persist::Yes), lost(100));
    assert_eq!(media.store_u64(192, 1), lost(192));
    assert_eq!(media.load_u64(96), lost(100).map(|()| 0));
    assert_eq!(media.read(199, &mut [0; 9]), lost(199));
    assert_eq!(media.write(200, &[1; 8], Persist::No), Ok(()));
    assert_eq!(ops(&media), [store(200, &[1; 8])]);
    media.inner().heal();
    assert_eq!(media.read(0, &mut [0; 8192]), Ok(()));
}
