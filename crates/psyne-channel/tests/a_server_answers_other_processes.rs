//! Requests between real processes, either side of which is killed at any instruction: a call is
//! answered rightly or said to be lost, and others take the place of who died.
#![cfg(not(miri))] // which starts no processes

mod process;

use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

use process::{Dice, Other, alone, beside, held, job, name, residue};
use psyne_channel::request::{Client, Server};
use psyne_channel::{Config, Error, Reason, Wait, spsc};

type Question = [u64; 3];
type Reply = [u64; 12];

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Killed in each loop; `cargo xtask bench channel` does a thousand.
const DEATHS: usize = 20;

fn config(wait: Wait) -> Config {
    Config { senders_max: 3, calls_max: 4, wait, ..Config::default() }
}

fn reply(question: &Question) -> Reply {
    [question[0] + question[2]; 12]
}

fn client(address: &str, wait: Wait) -> Client<Question, Reply> {
    Client::open(address, &config(wait)).unwrap()
}

fn server(address: &str, wait: Wait) -> Server<Question, Reply> {
    Server::open(address, &config(wait)).unwrap()
}

/// Asks until it is killed: each call has its right answer.
fn ask(address: &str) {
    let mut client = client(address, Wait::Adaptive);
    for number in 0.. {
        let question = [number, 0, u64::from(std::process::id())];
        assert_eq!(client.call(question), Ok(reply(&question)));
    }
}

#[test]
#[ignore = "the other process of the tests below"]
fn child() {
    match job().as_deref() {
        Some([what, address]) if what == "ask" => ask(address),
        Some([what, address]) if what == "serve" => {
            server(address, Wait::Adaptive).serve(reply).unwrap();
        }
        Some([what, address]) if what == "stall" => {
            let mut server = server(address, Wait::Park);
            let request = server.next().unwrap();
            writeln!(std::io::stdout(), "\ntook {}", request[0]).unwrap();
            std::thread::sleep(Duration::MAX);
        }
        _ => {}
    }
}

#[test]
fn a_client_outlives_its_servers() {
    let _alone = alone();
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let address = format!("ipc://{}", name(&format!("servers-{wait:?}")));
        let mut client = client(&address, wait);
        let (mut dice, mut before) = (Dice(7), None);
        for turn in 0..DEATHS {
            let server = Other::start(&["serve", &address]);
            let pid = server.pid();
            let question = [turn as u64, 7, 0];
            assert_eq!(client.call_timeout(question, PATIENCE), Ok(reply(&question)));
            let pause = Duration::from_micros(dice.roll(2_000));
            let killer = std::thread::spawn(move || {
                std::thread::sleep(pause);
                server.kill();
            });
            let said = (0..).find_map(|number| {
                let question = [number, 7, turn as u64];
                match client.call_timeout(question, PATIENCE) {
                    Ok(answer) => {
                        assert_eq!(answer, reply(&question));
                        None
                    }
                    Err(error) => Some(error),
                }
            });
            assert_eq!(said, Some(Error::PeerDied { pid }));
            killer.join().unwrap();
            before.get_or_insert_with(held);
        }
        let (before, after) = (before.unwrap(), held());
        assert!(after.0 <= before.0 + 3 && after.1 <= before.1 + 3, "{before:?} {after:?}");
    }
    let stays = residue().into_iter().filter(|name| name.contains("servers-")).count();
    assert_eq!(stays, 0);
}

#[test]
fn a_server_outlives_its_clients() {
    let _beside = beside();
    let address = format!("ipc://{}", name("clients"));
    let mut server = server(&address, Wait::Adaptive);
    let start = || Other::start(&["ask", &address]);
    let (mut living, mut dice, mut killed) = ([start(), start()], Dice(5), 0);
    let mut serve = |until: &mut dyn FnMut(Result<u64, Error>) -> bool| loop {
        let asked = server.next_timeout(PATIENCE).map(|request| {
            let (answer, who) = (reply(&request), request[2]);
            request.reply(answer);
            who
        });
        if until(asked) {
            break;
        }
    };
    while killed < DEATHS {
        let pid = living[killed % 2].pid();
        serve(&mut |asked| asked.unwrap() == pid.into());
        let mut more = dice.roll(500);
        serve(&mut |asked| {
            asked.unwrap();
            more = more.saturating_sub(1);
            more == 0
        });
        std::mem::replace(&mut living[killed % 2], start()).kill();
        serve(&mut |asked| match asked {
            Ok(who) => {
                assert!(living.iter().all(|other| other.pid() != pid) || who != pid.into());
                false
            }
            Err(error) => {
                assert_eq!(error, Error::PeerDied { pid });
                true
            }
        });
        killed += 1;
    }
}

#[test]
fn what_a_dead_server_had_not_taken_is_answered_by_the_next() {
    let _beside = beside();
    let address = format!("ipc://{}", name("untaken"));
    let mut client = client(&address, Wait::Park);
    let calls = [0, 1, 2, 3].map(|number| Some(client.begin([number, 0, 5]).unwrap()));
    assert_eq!(client.begin([4, 0, 5]).map(drop), Err(Error::Full));
    let mut stalled = Other::start(&["stall", &address]);
    let pid = stalled.pid();
    let output = BufReader::new(stalled.0.stdout.take().unwrap());
    let taken = output.lines().find_map(|line| Some(line.unwrap().strip_prefix("took ")?.parse()));
    stalled.kill();
    let taken: usize = taken.unwrap().unwrap();
    let mut calls = calls;
    let lost = client.finish(calls[taken].take().unwrap());
    assert_eq!(lost, Err(Error::PeerDied { pid }));
    let _next = Other::start(&["serve", &address]);
    for (number, call) in calls.into_iter().enumerate() {
        let Some(call) = call else { continue };
        assert_eq!(client.finish(call), Ok(reply(&[number as u64, 0, 5])));
    }
    assert_eq!(client.call([9, 0, 1]), Ok([10; 12]), "its slot is free again");
}

#[test]
fn who_means_something_else_or_is_too_many_is_told_so() {
    let _beside = beside();
    let address = format!("ipc://{}", name("wrong"));
    let mut server = server(&address, Wait::Park);
    let config = config(Wait::Park);
    let code = |error: Error| error.code();
    let other = Server::<Question, Reply>::open(&address, &config).map(drop);
    assert_eq!(other.map_err(code), Err("crowded"));
    let queue = spsc::Sender::<Reply>::open(&address, &config).map(drop);
    assert_eq!(queue.map_err(code), Err("pattern_mismatch"));
    let turned = Client::<Reply, Question>::open(&address, &config).map(drop);
    assert_eq!(turned.map_err(code), Err("layout_mismatch"));
    let mut one = client(&address, Wait::Park);
    let (two, _three) = (one.try_clone().unwrap(), one.try_clone().unwrap());
    assert_eq!(one.try_clone().map(drop), Err(Error::Crowded(3)));
    drop(two);
    let call = one.begin([1, 2, 3]).unwrap();
    // That one left is no news; what the other asked is refused by being let go.
    drop(server.next_timeout(PATIENCE).unwrap());
    assert_eq!(one.finish(call), Err(Error::Refused));
    drop(server);
    assert_eq!(one.call([1, 2, 3]), Err(Error::Closed(Reason::Finished)));
}
