//! Requests and replies: each call gets its own reply or learns why there is none.
#![cfg(not(loom))]

mod common;

use std::time::Duration;

use common::{STEPS_MAX, plan, races};
use proptest::prelude::*;
use psyne_channel::{Config, Error, Wait, request};

/// A request that fits a line and a reply that takes two.
type Request = [u64; 2];
type Reply = [u64; 9];

fn config(wait: Wait) -> Config {
    let mut config = Config::default();
    (config.wait, config.calls_max, config.senders_max) = (wait, 4, 3);
    config
}

fn reply_to(request: Request) -> Reply {
    std::array::from_fn(|word| request[0] * 1000 + request[1] * 10 + word as u64 % 10)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(usize),
    Drop(usize),
    Finish(usize),
    Serve,
    Refuse,
    Join,
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_usize..8).prop_map(Step::Begin),
        1 => (0_usize..8).prop_map(Step::Drop),
        4 => (0_usize..8).prop_map(Step::Finish),
        5 => Just(Step::Serve),
        1 => Just(Step::Refuse),
        1 => Just(Step::Join),
        1 => (0_usize..8).prop_map(Step::Leave),
    ];
    proptest::collection::vec(step, 0..STEPS_MAX)
}

/// A client, and its calls with what they asked.
struct Asker {
    client: request::Client<Request, Reply>,
    calls: Vec<(Request, request::Call)>,
}

proptest! {
    #![proptest_config(plan())]

    #[test]
    fn each_call_hears_of_itself_whatever_others_do(steps in steps()) {
        let (client, mut server) =
            request::channel::<Request, Reply>(&config(Wait::Spin)).unwrap();
        let mut askers = vec![Asker { client, calls: Vec::new() }];
        let mut refused = Vec::new();
        let mut number = 0;
        for step in steps {
            let count = askers.len();
            match step {
                Step::Begin(at) => {
                    number += 1;
                    let asker = &mut askers[at % count];
                    match asker.client.begin([7, number]) {
                        Ok(call) => asker.calls.push(([7, number], call)),
                        // Calls that were dropped hold their slot until they are answered.
                        Err(error) => assert_eq!(error, Error::Full),
                    }
                    assert!(asker.calls.len() <= 4);
                }
                Step::Drop(at) => {
                    let calls = &mut askers[at % count].calls;
                    if !calls.is_empty() {
                        drop(calls.remove(at % calls.len()));
                    }
                }
                Step::Finish(at) => {
                    let Asker { client, calls } = &mut askers[at % count];
                    if calls.is_empty() {
                        continue;
                    }
                    let (request, call) = calls.remove(at % calls.len());
                    match client.try_finish(call) {
                        Ok(Ok(reply)) => assert_eq!(reply, reply_to(request)),
                        Ok(Err(call)) => calls.push((request, call)),
                        Err(error) => {
                            assert_eq!(error, Error::Refused);
                            assert!(refused.contains(&request));
                        }
                    }
                }
                Step::Serve => {
                    if let Some(request) = server.try_next().unwrap() {
                        let reply = reply_to(*request);
                        request.reply(reply);
                    }
                }
                Step::Refuse => {
                    if let Some(request) = server.try_next().unwrap() {
                        refused.push(*request);
                    }
                }
                Step::Join => match askers[0].client.try_clone() {
                    Ok(client) => askers.push(Asker { client, calls: Vec::new() }),
                    Err(error) => assert_eq!(error, Error::Crowded(3)),
                },
                Step::Leave(at) if count > 1 => drop(askers.remove(at % count)),
                Step::Leave(_) => {}
            }
        }
        while let Ok(Some(request)) = server.try_next() {
            let reply = reply_to(*request);
            request.reply(reply);
        }
        for Asker { mut client, calls } in askers {
            for (request, call) in calls {
                match client.finish(call) {
                    Ok(reply) => assert_eq!(reply, reply_to(request)),
                    Err(error) => assert!(error == Error::Refused && refused.contains(&request)),
                }
            }
        }
        assert_eq!(server.try_next().unwrap_err().code(), "closed");
    }
}

const EACH: u64 = races(5_000);

#[test]
fn clients_that_race_get_their_own_replies() {
    for wait in [Wait::Adaptive, Wait::Park] {
        let (mut first, mut server) = request::channel::<Request, Reply>(&config(wait)).unwrap();
        let clients = [first.try_clone().unwrap(), first.try_clone().unwrap(), first];
        let threads: Vec<_> = (0..)
            .zip(clients)
            .map(|(name, mut client)| {
                std::thread::spawn(move || {
                    for number in (0..EACH).step_by(3) {
                        let [one, two] =
                            [number, number + 1].map(|n| client.begin([name, n]).unwrap());
                        assert_eq!(client.call([name, 9]), Ok(reply_to([name, 9])));
                        assert_eq!(client.finish(two), Ok(reply_to([name, number + 1])));
                        assert_eq!(client.finish(one), Ok(reply_to([name, number])));
                    }
                })
            })
            .collect();
        server.serve(|request| reply_to(*request)).unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(server.stats().slots, 3 * EACH.div_ceil(3) * 3);
    }
}

#[test]
fn a_call_that_timed_out_leaves_its_reply_to_nobody() {
    let (mut client, mut server) = request::channel::<u64, u64>(&config(Wait::Park)).unwrap();
    let soon = Duration::from_millis(1);
    // Not taken yet: the server never sees it.
    assert_eq!(client.call_timeout(1, soon), Err(Error::TimedOut));
    assert!(server.try_next().unwrap().is_none());
    // Taken: the server answers, and nobody hears it.
    let call = client.begin(2).unwrap();
    let request = server.next().unwrap();
    drop(call);
    let next = client.begin(3).unwrap();
    request.reply(20);
    assert_eq!(server.next_timeout(soon).map(|request| request.reply(30)), Ok(()));
    assert_eq!(client.finish(next), Ok(30));
    // The slot of the one that was dropped is used again.
    let calls: Vec<_> = (0..4).map(|number| client.begin(number).unwrap()).collect();
    assert_eq!(client.begin(9).unwrap_err(), Error::Full);
    for _ in 0..4 {
        let request = server.next().unwrap();
        let reply = *request * 10;
        request.reply(reply);
    }
    for (number, call) in (0..).zip(calls) {
        assert_eq!(client.finish(call), Ok(number * 10));
    }
}

#[test]
fn who_is_let_down_hears_it() {
    let (mut client, mut server) = request::channel::<u64, u64>(&config(Wait::Park)).unwrap();
    let thread = std::thread::spawn(move || {
        drop(server.next().unwrap());
        // Taken, and then the server goes away as a whole.
        let request = server.next().unwrap();
        assert_eq!(*request, 2);
        drop(request);
        std::thread::sleep(Duration::from_millis(20));
        drop(server);
    });
    assert_eq!(client.call(1), Err(Error::Refused));
    assert_eq!(client.call(2), Err(Error::Refused));
    assert_eq!(client.call(3).unwrap_err().code(), "closed");
    assert_eq!(client.begin(4).unwrap_err().code(), "closed");
    assert_eq!(client.try_clone().unwrap_err().code(), "closed");
    thread.join().unwrap();
}

#[test]
fn calls_and_clients_are_bounded() {
    let config = config(Wait::Spin);
    let (mut client, _server) = request::channel::<u64, u64>(&config).unwrap();
    let _others = [client.try_clone().unwrap(), client.try_clone().unwrap()];
    assert_eq!(client.try_clone().unwrap_err(), Error::Crowded(3));
    for calls_max in [0, 65] {
        let config = Config { calls_max, ..Config::default() };
        assert_eq!(request::channel::<u64, u64>(&config).unwrap_err().code(), "config");
    }
}

/// A task by hand: polled until it is ready, and only when it was woken.
fn finish<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn tasks_ask_and_answer() {
    let (mut client, mut server) = request::channel::<u64, u64>(&config(Wait::Adaptive)).unwrap();
    let thread = std::thread::spawn(move || {
        while let Ok(request) = finish(server.next_async()) {
            let reply = *request + 1;
            request.reply(reply);
        }
    });
    for number in 0..EACH / 5 {
        assert_eq!(finish(client.call_async(number)), Ok(number + 1));
    }
    drop(client);
    thread.join().unwrap();
}
