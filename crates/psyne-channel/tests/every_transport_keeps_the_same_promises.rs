//! What a channel promises, whatever lies between its ends: one suite for every transport. A new
//! transport adds a `Transport` and a line at the end.

#[cfg(not(miri))]
mod process;

#[cfg(not(miri))]
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

#[cfg(not(miri))]
use process::name;
use psyne_channel::broadcast::bytes as cast;
use psyne_channel::{
    Config, Error, Full, Message, Reason, Wait, broadcast, bytes, event, latest, mpmc, mpsc,
    request, spsc,
};

const FINISHED: Error = Error::Closed(Reason::Finished);

type Wide = [u64; 12];

/// Opens both ends of each pattern.
trait Transport {
    fn queue<T: Message>(config: &Config) -> (spsc::Sender<T>, spsc::Receiver<T>);
    fn many(config: &Config) -> (mpsc::Sender<Wide>, mpsc::Receiver<Wide>);
    /// With two senders and two receivers that know each other.
    fn crowd(config: &Config) -> ([mpmc::Sender<Wide>; 2], [mpmc::Receiver<Wide>; 2]);
    fn calls(config: &Config) -> request::Ends<u64, Wide>;
    fn strings(config: &Config) -> (bytes::Sender, bytes::Receiver);
    /// With one receiver that blocks, then one that skips.
    fn broadcast(config: &Config) -> (broadcast::Sender<Wide>, [broadcast::Receiver<Wide>; 2]);
    /// The same for strings.
    fn cast(config: &Config) -> (cast::Sender, [cast::Receiver; 2]);
    fn latest() -> (latest::Writer<Wide>, latest::Reader<Wide>);
    fn events() -> (event::Notifier, event::Listener);
}

/// Both ends made at once.
struct Pair;

impl Transport for Pair {
    fn queue<T: Message>(config: &Config) -> (spsc::Sender<T>, spsc::Receiver<T>) {
        spsc::channel(config).unwrap()
    }

    fn many(config: &Config) -> (mpsc::Sender<Wide>, mpsc::Receiver<Wide>) {
        mpsc::channel(config).unwrap()
    }

    fn crowd(config: &Config) -> ([mpmc::Sender<Wide>; 2], [mpmc::Receiver<Wide>; 2]) {
        let (sender, receiver) = mpmc::channel(config).unwrap();
        let others = (sender.try_clone().unwrap(), receiver.try_clone().unwrap());
        ([sender, others.0], [receiver, others.1])
    }

    fn calls(config: &Config) -> request::Ends<u64, Wide> {
        request::channel(config).unwrap()
    }

    fn strings(config: &Config) -> (bytes::Sender, bytes::Receiver) {
        bytes::channel(config).unwrap()
    }

    fn broadcast(config: &Config) -> (broadcast::Sender<Wide>, [broadcast::Receiver<Wide>; 2]) {
        let mut sender = broadcast::channel(config).unwrap();
        let lags = [broadcast::Lag::Block, broadcast::Lag::Skip];
        let receivers = lags.map(|lag| sender.subscribe(lag).unwrap());
        (sender, receivers)
    }

    fn cast(config: &Config) -> (cast::Sender, [cast::Receiver; 2]) {
        let mut sender = cast::channel(config).unwrap();
        let lags = [broadcast::Lag::Block, broadcast::Lag::Skip];
        let receivers = lags.map(|lag| sender.subscribe(lag).unwrap());
        (sender, receivers)
    }

    fn latest() -> (latest::Writer<Wide>, latest::Reader<Wide>) {
        latest::channel(&Config::default()).unwrap()
    }

    fn events() -> (event::Notifier, event::Listener) {
        event::channel(&Config::default()).unwrap()
    }
}

/// By a name: `IPC` or within the process, the receiving end first or last.
#[cfg(not(miri))]
struct Named<const IPC: bool, const EARLY: bool>;

#[cfg(not(miri))]
fn address(ipc: bool) -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let what = name(&format!("same/{}", LAST.fetch_add(1, Ordering::Relaxed)));
    format!("{}://{what}", if ipc { "ipc" } else { "memory" })
}

#[cfg(not(miri))]
/// Opens one and the other in this order, or the other first.
fn both<A, B>(early: bool, a: impl FnOnce() -> A, b: impl FnOnce() -> B) -> (A, B) {
    if early {
        let b = b();
        (a(), b)
    } else {
        (a(), b())
    }
}

#[cfg(not(miri))]
impl<const IPC: bool, const EARLY: bool> Transport for Named<IPC, EARLY> {
    fn queue<T: Message>(config: &Config) -> (spsc::Sender<T>, spsc::Receiver<T>) {
        let at = address(IPC);
        let tx = || spsc::Sender::open(&at, config).unwrap();
        both(EARLY, tx, || spsc::Receiver::open(&at, config).unwrap())
    }

    fn many(config: &Config) -> (mpsc::Sender<Wide>, mpsc::Receiver<Wide>) {
        let at = address(IPC);
        let tx = || mpsc::Sender::open(&at, config).unwrap();
        both(EARLY, tx, || mpsc::Receiver::open(&at, config).unwrap())
    }

    fn crowd(config: &Config) -> ([mpmc::Sender<Wide>; 2], [mpmc::Receiver<Wide>; 2]) {
        let at = address(IPC);
        let tx = || [(); 2].map(|()| mpmc::Sender::open(&at, config).unwrap());
        let rx = || [(); 2].map(|()| mpmc::Receiver::open(&at, config).unwrap());
        let (mut senders, receivers) = both(EARLY, tx, rx);
        for sender in &mut senders {
            while sender.receivers() < 2 {
                std::thread::yield_now();
            }
        }
        (senders, receivers)
    }

    fn calls(config: &Config) -> request::Ends<u64, Wide> {
        let at = address(IPC);
        let client = || request::Client::open(&at, config).unwrap();
        both(EARLY, client, || request::Server::open(&at, config).unwrap())
    }

    fn strings(config: &Config) -> (bytes::Sender, bytes::Receiver) {
        let at = address(IPC);
        let tx = || bytes::Sender::open(&at, config).unwrap();
        both(EARLY, tx, || bytes::Receiver::open(&at, config).unwrap())
    }

    fn broadcast(config: &Config) -> (broadcast::Sender<Wide>, [broadcast::Receiver<Wide>; 2]) {
        let at = address(IPC);
        let lags = [broadcast::Lag::Block, broadcast::Lag::Skip];
        let tx = || broadcast::Sender::open(&at, config).unwrap();
        let rx = || lags.map(|lag| broadcast::Receiver::open(&at, lag, config).unwrap());
        let (mut sender, receivers) = both(EARLY, tx, rx);
        while sender.receivers() < 2 {
            std::thread::yield_now();
        }
        (sender, receivers)
    }

    fn cast(config: &Config) -> (cast::Sender, [cast::Receiver; 2]) {
        let at = address(IPC);
        let lags = [broadcast::Lag::Block, broadcast::Lag::Skip];
        let tx = || cast::Sender::open(&at, config).unwrap();
        let rx = || lags.map(|lag| cast::Receiver::open(&at, lag, config).unwrap());
        let (mut sender, receivers) = both(EARLY, tx, rx);
        while sender.receivers() < 2 {
            std::thread::yield_now();
        }
        (sender, receivers)
    }

    fn latest() -> (latest::Writer<Wide>, latest::Reader<Wide>) {
        let (at, config) = (address(IPC), Config::default());
        let tx = || latest::Writer::open(&at, &config).unwrap();
        both(EARLY, tx, || latest::Reader::open(&at, &config).unwrap())
    }

    fn events() -> (event::Notifier, event::Listener) {
        let (at, config) = (address(IPC), Config::default());
        let tx = || event::Notifier::open(&at, &config).unwrap();
        both(EARLY, tx, || event::Listener::open(&at, &config).unwrap())
    }
}

fn config(wait: Wait) -> Config {
    Config { slots: 8, wait, full: Full::Block, ..Config::default() }
}

/// What was sent arrives in order, through both doors; a loan that is dropped was never sent.
fn queues_keep_order<X: Transport, T: Message + PartialEq + std::fmt::Debug>(of: fn(u64) -> T) {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut sender, mut receiver) = X::queue::<T>(&config(wait));
        let thread = std::thread::spawn(move || {
            for number in (0..3_000).step_by(3) {
                sender.send(of(number)).unwrap();
                *sender.loan().unwrap() = of(u64::MAX);
                let mut batch = sender.batch(2).unwrap();
                batch.push(of(number + 1)).unwrap();
                batch.push(of(number + 2)).unwrap();
                batch.commit().unwrap();
            }
            while sender.unread().is_ok_and(|unread| unread > 0) {
                std::thread::yield_now();
            }
        });
        let mut next = 0;
        while next < 3_000 {
            assert_eq!(receiver.recv(), Ok(of(next)));
            next += 1;
            for message in receiver.drain() {
                assert_eq!(message, of(next));
                next += 1;
            }
        }
        assert_eq!(receiver.recv(), Err(FINISHED));
        thread.join().unwrap();
    }
}

/// Nothing is there, or no room: said at once or after the time given, and nothing is lost by it.
fn queues_say_why_not<X: Transport>() {
    let full = Full::BlockFor(Duration::from_millis(1));
    let (mut sender, mut receiver) = X::queue::<u64>(&Config { full, ..config(Wait::Adaptive) });
    assert_eq!(receiver.try_recv(), Ok(None));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    let sent = (0..100).take_while(|number| sender.try_send(*number).is_ok()).count() as u64;
    assert!((8..100).contains(&sent), "{sent}");
    assert_eq!(sender.try_send(sent), Err(Error::Full));
    assert_eq!(sender.send(sent), Err(Error::TimedOut));
    assert_eq!(receiver.recv(), Ok(0));
    assert_eq!(receiver.drain().collect::<Vec<_>>(), (1..sent).collect::<Vec<_>>());
    // It may not have met the receiver yet, and wait longer for that than it was told to wait.
    while sender.unread().is_ok_and(|unread| unread > 0) {
        std::thread::yield_now();
    }
    sender.send(sent).unwrap();
    assert_eq!(receiver.recv(), Ok(sent));
    drop(receiver);
    assert_eq!(sender.send(0), Err(FINISHED));
}

/// Of each sender in order, and nothing lost; the last one closes.
fn many_senders_keep_their_order<X: Transport>() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut sender, mut receiver) = X::many(&config(wait));
        let mut senders = vec![sender.try_clone().unwrap(), sender.try_clone().unwrap()];
        senders.push(sender);
        let all = Arc::new(Barrier::new(3));
        let threads = senders.into_iter().enumerate().map(|(id, mut sender)| {
            let all = all.clone();
            std::thread::spawn(move || {
                for number in 0..1_000 {
                    let mut message = [number; 12];
                    message[0] = id as u64;
                    sender.send(message).unwrap();
                }
                // Nobody leaves before all have come, or that one would close the channel.
                while sender.unread().is_ok_and(|unread| unread > 0) {
                    std::thread::yield_now();
                }
                all.wait();
            })
        });
        let threads: Vec<_> = threads.collect();
        let mut next = [0; 3];
        while next != [1_000; 3] {
            let message = receiver.recv().unwrap();
            let next = &mut next[message[0] as usize];
            assert_eq!(message[1..], [*next; 11]);
            *next += 1;
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(receiver.recv(), Err(FINISHED));
    }
}

/// Each message reaches one receiver, of each sender in order; the last sender closes.
fn many_share_a_queue<X: Transport>() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (senders, receivers) = X::crowd(&config(wait));
        let taken = receivers.map(|mut receiver| {
            std::thread::spawn(move || {
                let mut taken = Vec::new();
                loop {
                    match receiver.recv() {
                        Ok(message) => taken.push(message),
                        Err(error) => break assert_eq!(error, FINISHED),
                    }
                }
                taken
            })
        });
        let all = Arc::new(Barrier::new(2));
        let sent = [0, 1].into_iter().zip(senders).map(|(id, mut sender)| {
            let all = all.clone();
            std::thread::spawn(move || {
                for number in 0..1_000 {
                    let mut message = [number; 12];
                    message[0] = id;
                    sender.send(message).unwrap();
                }
                // Nobody leaves before all have come, or that one would close the channel.
                all.wait();
            })
        });
        let sent: Vec<_> = sent.collect();
        sent.into_iter().for_each(|thread| thread.join().unwrap());
        let mut numbers = [Vec::new(), Vec::new()];
        for taken in taken.map(|thread| thread.join().unwrap()) {
            let mut next = [0; 2];
            for message in taken {
                let (id, number) = (message[0] as usize, message[1]);
                assert_eq!(message[1..], [number; 11]);
                assert!(number >= std::mem::replace(&mut next[id], number + 1), "out of order");
                numbers[id].push(number);
            }
        }
        for mut numbers in numbers {
            numbers.sort_unstable();
            assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
        }
    }
}

/// Each call has its own answer, however many are under way, or hears that it has none.
fn calls_are_answered<X: Transport>() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let (mut client, mut server) = X::calls(&config(wait));
        let thread = std::thread::spawn(move || {
            for number in 0..2_000 {
                assert_eq!(client.call(number), Ok([number + 1; 12]));
            }
            let calls: Vec<_> = (0..8).map(|number| client.begin(number).unwrap()).collect();
            assert_eq!(client.begin(8).map(drop), Err(Error::Full));
            for (number, call) in (0..8).rev().zip(calls.into_iter().rev()) {
                assert_eq!(client.finish(call), Ok([number + 1; 12]));
            }
            assert_eq!(client.call(u64::MAX), Err(Error::Refused));
        });
        loop {
            match server.next() {
                Ok(request) if *request == u64::MAX => drop(request),
                Ok(request) => {
                    let answer = [*request + 1; 12];
                    request.reply(answer);
                }
                Err(error) => break assert_eq!(error, FINISHED),
            }
        }
        thread.join().unwrap();
    }
}

/// Strings of every length that fits arrive as they were; a longer one is refused.
fn strings_are_whole<X: Transport>() {
    let (mut sender, mut receiver) = X::strings(&config(Wait::Adaptive));
    let bytes_max = sender.bytes_max();
    for bytes in (0..=bytes_max).chain((0..=bytes_max).rev()) {
        let string: Vec<u8> = (0..bytes).map(|at| (at * 7 + bytes) as u8).collect();
        sender.send(&string).unwrap();
        assert_eq!(receiver.recv().unwrap()[..], string);
    }
    let long = vec![0; bytes_max + 1];
    assert_eq!(sender.send(&long).unwrap_err().code(), "too_long");
    drop(sender);
    assert_eq!(receiver.recv().map(drop), Err(FINISHED));
}

/// Who blocks hears everything, who skips how much it missed.
fn broadcasts_reach_all<X: Transport>() {
    let (mut sender, [mut all, mut some]) = X::broadcast(&config(Wait::Adaptive));
    let thread = std::thread::spawn(move || {
        for number in 0..2_000 {
            assert_eq!(all.recv(), Ok([number; 12]));
        }
        assert_eq!(all.recv(), Err(FINISHED));
    });
    (0..2_000).for_each(|number| sender.send([number; 12]).unwrap());
    drop(sender);
    thread.join().unwrap();
    let mut heard = 0;
    let end = loop {
        match some.recv() {
            Ok(message) => {
                assert_eq!(message, [heard; 12]);
                heard += 1;
            }
            Err(Error::Lagged(lost)) => heard += lost,
            Err(error) => break error,
        }
    };
    assert_eq!((heard, end), (2_000, FINISHED));
}

/// A string of this number, of some length or other.
fn string(number: u64) -> Vec<u8> {
    (0..number % 90).map(|at| (at * 7 + number) as u8).collect()
}

/// The same for strings of any length.
fn strings_reach_all<X: Transport>() {
    let (mut sender, [mut all, mut some]) = X::cast(&config(Wait::Adaptive));
    let thread = std::thread::spawn(move || {
        for number in 0..2_000 {
            assert_eq!(all.recv().unwrap()[..], string(number));
        }
        assert_eq!(all.recv().map(drop), Err(FINISHED));
    });
    (0..2_000).for_each(|number| sender.send(&string(number)).unwrap());
    drop(sender);
    thread.join().unwrap();
    let mut heard = 0;
    let end = loop {
        match some.recv() {
            Ok(message) => {
                assert_eq!(message[..], string(heard));
                heard += 1;
            }
            Err(Error::Lagged(lost)) => heard += lost,
            Err(error) => break error,
        }
    };
    // Who never looked before may begin where the ring does by now.
    assert!(heard == 2_000 || some.stats().slots + some.stats().refused < 2_000, "{heard}");
    assert_eq!(end, FINISHED);
}

/// Never older, never torn, and the last one stays.
fn latest_is_the_newest<X: Transport>() {
    let (mut writer, mut reader) = X::latest();
    assert_eq!(reader.get(), None);
    let thread = std::thread::spawn(move || {
        let mut last = 0;
        while let Ok(value) = reader.changed() {
            assert!(value == [value[0]; 12] && value[0] > last, "{last} {value:?}");
            last = value[0];
        }
        (last, reader.get())
    });
    (1..=2_000).for_each(|number| writer.set([number; 12]));
    // A guest that has not been let in yet would find nobody.
    std::thread::sleep(Duration::from_millis(50));
    writer.set([2_001; 12]);
    std::thread::sleep(Duration::from_millis(50));
    drop(writer);
    assert_eq!(thread.join().unwrap(), (2_001, Some([2_001; 12])));
}

/// Each is counted, of each kind, whenever one looks.
fn events_are_counted<X: Transport>() {
    let (mut notifier, mut listener) = X::events();
    let (done, counted) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut counts = [0; 64];
        while counts.iter().sum::<u32>() < 6_400 {
            let events = listener.wait().unwrap();
            events.iter().for_each(|(id, count)| counts[usize::from(id)] += count);
        }
        assert_eq!(counts, [100; 64]);
        done.send(()).unwrap();
        assert_eq!(listener.wait().map(drop), Err(FINISHED));
    });
    (0..6_400).for_each(|number| notifier.notify((number % 64) as u8));
    // A guest that has not found the notifier yet would hear of nobody.
    counted.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(notifier);
    thread.join().unwrap();
}

macro_rules! conforms {
    ($($name:ident: $transport:ty;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn queues() {
                queues_keep_order::<$transport, u64>(|number| number);
                queues_keep_order::<$transport, Wide>(|number| [number; 12]);
                queues_say_why_not::<$transport>();
                strings_are_whole::<$transport>();
            }

            #[test]
            fn many_to_one() {
                many_senders_keep_their_order::<$transport>();
            }

            #[test]
            fn many_to_many() {
                many_share_a_queue::<$transport>();
            }

            #[test]
            fn there_and_back() {
                calls_are_answered::<$transport>();
            }

            #[test]
            fn one_to_many() {
                broadcasts_reach_all::<$transport>();
                strings_reach_all::<$transport>();
                latest_is_the_newest::<$transport>();
                events_are_counted::<$transport>();
            }
        }
    )*};
}

conforms! {
    pair: Pair;
}
// Miri knows no sockets.
#[cfg(not(miri))]
conforms! {
    memory: Named<false, false>;
    memory_receiver_first: Named<false, true>;
    ipc: Named<true, false>;
    ipc_receiver_first: Named<true, true>;
}
