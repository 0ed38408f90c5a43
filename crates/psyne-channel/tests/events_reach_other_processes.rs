//! Events between real processes: each is counted once, and another notifier may take the place of
//! one that was killed.

mod process;

use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use process::{Dice, Other, alone, beside, held, job, name};
use psyne_channel::event::{Listener, Notifier};
use psyne_channel::{Config, Error, Wait, latest};

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

fn config() -> Config {
    Config { receivers_max: 2, wait: Wait::Park, ..Config::default() }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "notify" => {
            let mut notifier = Notifier::open(address, &config()).unwrap();
            for number in 0_u64.. {
                notifier.notify((number % 64) as u8);
            }
        }
        // Notifies when told to, and says when it did.
        Some([what, address, id]) if what == "once" => {
            let mut notifier = Notifier::open(address, &config()).unwrap();
            for line in std::io::stdin().lines() {
                assert_eq!(line.unwrap(), "now");
                notifier.notify(id.parse().unwrap());
                writeln!(std::io::stdout(), "\ndone").unwrap();
            }
        }
        _ => {}
    }
}

#[test]
fn listeners_outlive_their_notifiers() {
    let _alone = alone();
    let address = format!("ipc://{}", name("outlive"));
    let mut listener = Listener::open(&address, &config()).unwrap();
    let (mut dice, mut before) = (Dice(9), None);
    for _ in 0..20 {
        let notifier = Other::start(&["notify", &address]);
        let pid = notifier.pid();
        let mut counts = [0; 64];
        let first = listener.wait_timeout(PATIENCE).unwrap();
        first.iter().for_each(|(id, count)| counts[usize::from(id)] += count);
        let pause = Duration::from_micros(dice.roll(3_000));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            notifier.kill();
        });
        let death = loop {
            match listener.wait_timeout(PATIENCE) {
                Ok(events) => {
                    events.iter().for_each(|(id, count)| counts[usize::from(id)] += count);
                }
                Err(error) => break error,
            }
        };
        assert_eq!(death, Error::PeerDied { pid });
        assert!(matches!(listener.try_wait(), Ok(None)), "said once");
        killer.join().unwrap();
        // It was killed between two stores at most: each kind as often as the others, or once more.
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1 && *most > 0, "{counts:?}");
        before.get_or_insert_with(held);
    }
    let (before, after) = (before.unwrap(), held());
    assert!(after.0 <= before.0 + 3 && after.1 <= before.1 + 3, "{before:?} {after:?}");
}

#[test]
fn one_listener_hears_several_processes() {
    let _beside = beside();
    let addresses = [0, 1].map(|which| format!("ipc://{}", name(&format!("both-{which}"))));
    let mut notifiers = [0, 1].map(|which| {
        let mut other = Other::start(&["once", &addresses[which], &which.to_string()]);
        let output = BufReader::new(other.0.stdout.take().unwrap());
        (other, output)
    });
    let mut listener = Listener::open(&addresses[0], &config()).unwrap();
    listener.join(Listener::open(&addresses[1], &config()).unwrap()).unwrap();
    for turn in 0..20 {
        let (other, output) = &mut notifiers[turn % 2];
        writeln!(other.0.stdin.as_mut().unwrap(), "now").unwrap();
        assert!(output.lines().any(|line| line.unwrap() == "done"));
        let events = listener.wait_timeout(PATIENCE).unwrap();
        assert_eq!(events.iter().collect::<Vec<_>>(), [((turn % 2) as u8, 1)]);
    }
    let [(first, _), (second, _)] = notifiers;
    first.finish();
    assert_eq!(listener.wait_timeout(Duration::from_millis(1)), Err(Error::TimedOut));
    second.finish();
    assert_eq!(listener.wait().map_err(|error| error.code()), Err("closed"));
}

#[test]
fn who_means_something_else_or_is_too_many_is_told_so() {
    let _beside = beside();
    let address = format!("ipc://{}", name("wrong"));
    let mut notifier = Notifier::open(&address, &config()).unwrap();
    let code = |error: Error| error.code();
    let other = Notifier::open(&address, &config()).map(drop);
    assert_eq!(other.map_err(code), Err("crowded"));
    let reader = latest::Reader::<u64>::open(&address, &config()).map(drop);
    assert_eq!(reader.map_err(code), Err("pattern_mismatch"));
    let mut one = Listener::open(&address, &config()).unwrap();
    let mut two = Listener::open(&address, &config()).unwrap();
    assert_eq!(Listener::open(&address, &config()).map(drop), Err(Error::Crowded(2)));
    notifier.notify(7);
    for listener in [&mut one, &mut two] {
        assert_eq!(listener.wait_timeout(PATIENCE).unwrap().count(7), 1);
    }
}
