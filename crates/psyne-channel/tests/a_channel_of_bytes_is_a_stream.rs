//! Streams of bytes over queues: whatever pieces are written and read, the bytes are the same.
#![cfg(not(loom))]

mod common;

use std::future::poll_fn;
use std::io::{BufRead, Read, Write};
use std::pin::Pin;

use common::{STEPS_MAX, plan, races};
use proptest::prelude::*;
use psyne_channel::bytes::{self, Reader, Writer};
use psyne_channel::{Config, Full};

fn open(slots: usize, full: Full) -> (Writer, Reader) {
    let config = Config { slots, full, ..Config::default() };
    let (sender, receiver) = bytes::channel(&config).unwrap();
    (Writer::new(sender), Reader::new(receiver))
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn what_is_read_is_what_was_written(
        steps in proptest::collection::vec((any::<bool>(), 0_usize..400), 0..STEPS_MAX),
        slots in 4_usize..40,
    ) {
        let (mut writer, mut reader) = open(slots, Full::Refuse);
        let (mut written, mut read, mut next) = (0, 0, 0_u8);
        for (write, count) in steps {
            if write {
                let piece: Vec<u8> = (0..count).map(|at| next.wrapping_add(at as u8)).collect();
                let done = writer.write(&piece).unwrap_or(0);
                written += done;
                next = next.wrapping_add(done as u8);
            } else if read < written {
                let mut into = vec![0; count];
                let done = reader.read(&mut into).unwrap();
                prop_assert!(count == 0 || done > 0);
                for (at, byte) in into[..done].iter().enumerate() {
                    prop_assert_eq!(*byte, (read + at) as u8);
                }
                read += done;
            }
        }
        writer.flush().unwrap();
        drop(writer);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        prop_assert_eq!(read + rest.len(), written);
        prop_assert!(rest.iter().enumerate().all(|(at, byte)| *byte == (read + at) as u8));
        prop_assert!(reader.fill_buf().unwrap().is_empty());
    }
}

#[test]
fn lines_pass_between_threads() {
    const LINES: u32 = races(20_000) as u32;
    let (mut writer, reader) = open(30, Full::Block);
    let thread = std::thread::spawn(move || {
        for number in 0..LINES {
            writeln!(writer, "line {number}").unwrap();
        }
    });
    for (number, line) in reader.lines().enumerate() {
        assert_eq!(line.unwrap(), format!("line {number}"));
    }
    thread.join().unwrap();
}

#[test]
fn a_writer_without_a_reader_has_a_broken_pipe() {
    let (mut writer, reader) = open(4, Full::Block);
    drop(reader);
    assert_eq!(writer.write(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    let (mut writer, _reader) = open(4, Full::Refuse);
    let error = (0..9).find_map(|_| writer.write(&[0; 60]).err());
    assert_eq!(error.unwrap().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "current_thread")]
#[cfg_attr(miri, ignore = "Miri knows no epoll")]
async fn a_task_reads_as_it_comes() {
    const BYTES: usize = 200_000;
    let (mut writer, mut reader) = open(30, Full::Block);
    let thread = std::thread::spawn(move || {
        let all: Vec<u8> = (0..BYTES).map(|at| at as u8).collect();
        writer.write_all(&all).unwrap();
    });
    let mut read = 0;
    loop {
        let more = poll_fn(|context| {
            let polled = Pin::new(&mut reader).poll_fill_buf(context);
            polled.map(|lent| lent.map(<[u8]>::to_vec))
        });
        let more = more.await.unwrap();
        if more.is_empty() {
            break;
        }
        assert!(more.iter().enumerate().all(|(at, byte)| *byte == (read + at) as u8));
        reader.consume(more.len());
        read += more.len();
    }
    assert_eq!(read, BYTES);
    thread.join().unwrap();
}
