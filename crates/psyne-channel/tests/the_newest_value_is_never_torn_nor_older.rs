//! The latest value, alone and while threads race.
#![cfg(not(loom))]

use psyne_channel::latest;

#[test]
fn readers_see_what_was_written_last() {
    let (mut writer, mut reader) = latest::channel::<[u16; 5]>().unwrap();
    assert_eq!((reader.get(), reader.changed()), (None, Ok(None)));
    for number in 0..40 {
        writer.set([number; 5]);
        let mut other = reader.clone();
        assert_eq!(reader.changed(), Ok(Some([number; 5])));
        assert_eq!((reader.changed(), reader.get()), (Ok(None), Some([number; 5])));
        assert_eq!(other.changed(), Ok(Some([number; 5])));
    }
    writer.set([7; 5]);
    drop(writer);
    assert_eq!(reader.changed(), Ok(Some([7; 5])));
    assert_eq!(reader.changed().unwrap_err().code(), "closed");
    assert_eq!(reader.get(), Some([7; 5]));
}

#[test]
fn a_writer_that_races_is_never_seen_half_done() {
    const VALUES: u64 = if cfg!(miri) { 200 } else { 200_000 };
    let (mut writer, reader) = latest::channel::<[u64; 20]>().unwrap();
    let threads = [reader.clone(), reader].map(|mut reader| {
        std::thread::spawn(move || {
            let mut last = 0;
            while last < VALUES {
                if let Some(value) = reader.get() {
                    assert!(value[0] >= last && value.iter().all(|word| *word == value[0]));
                    last = value[0];
                }
            }
        })
    });
    for number in 1..=VALUES {
        writer.set([number; 20]);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
