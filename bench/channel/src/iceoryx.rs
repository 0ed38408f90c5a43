//! iceoryx2 at its best: two processes, its plain `ipc` service.
//!
//! It is given slices of bytes from chunks of the size that is measured. "Untouched" borrows eight
//! bytes of such a chunk, since safe code can't leave a borrowed slice unwritten.

use std::hint::{black_box, spin_loop};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::PortFactory as _;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::processes::Other;
use psyne_cli::measure::payload::sum;
use psyne_cli::measure::{ROUND_TRIPS, latency, pin, rate};

type Topic = PortFactory<ipc::Service, [u8], ()>;
type Out = Publisher<ipc::Service, [u8], ()>;
type In = Subscriber<ipc::Service, [u8], ()>;

/// Its version, for the table.
pub(crate) const VERSION: &str = "0.10";

fn why(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("iceoryx2: {error:?}")
}

fn node() -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    NodeBuilder::new().create::<ipc::Service>().map_err(why)
}

fn topic(node: &Node<ipc::Service>, name: &str, depth: usize, overflow: bool) -> Result<Topic> {
    node.service_builder(&name.try_into().map_err(why)?)
        .publish_subscribe::<[u8]>()
        .payload_alignment(Alignment::new(64).context("a power of two")?)
        .max_publishers(1)
        .max_subscribers(1)
        .history_size(0)
        .subscriber_max_buffer_size(depth)
        .subscriber_max_borrowed_samples(2)
        .enable_safe_overflow(overflow)
        .open_or_create()
        .map_err(why)
}

fn publisher(topic: &Topic, bytes: usize) -> Result<Out> {
    topic
        .publisher_builder()
        .initial_max_slice_len(bytes)
        .max_loaned_samples(2)
        .backpressure_strategy(BackpressureStrategy::DiscardData)
        .create()
        .map_err(why)
}

fn send(publisher: &Out, bytes: &[u8]) -> Result<bool> {
    let loan = publisher.loan_slice_uninit(bytes.len()).map_err(why)?;
    Ok(loan.write_from_slice(bytes).send().map_err(why)? > 0)
}

fn wait_for<T>(input: &In, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
    loop {
        if let Some(sample) = input.receive().map_err(why)? {
            return Ok(read(sample.payload()));
        }
        spin_loop();
    }
}

fn echo(node: &Node<ipc::Service>, stop: &AtomicBool) -> Result<()> {
    let (there, back) = (topic(node, "bench/a", 1, true)?, topic(node, "bench/b", 1, true)?);
    let (output, input) =
        (publisher(&back, 64)?, there.subscriber_builder().create().map_err(why)?);
    while !stop.load(Ordering::Relaxed) {
        if let Some(sample) = input.receive().map_err(why)? {
            send(&output, sample.payload())?;
        }
    }
    Ok(())
}

fn produce(node: &Node<ipc::Service>, job: (usize, usize, bool), stop: &AtomicBool) -> Result<()> {
    let (bytes, depth, touched) = job;
    let topic = topic(node, "bench/p", depth, false)?;
    let output = publisher(&topic, bytes)?;
    let text = vec![5_u8; if touched { bytes } else { 8 }];
    while topic.dynamic_config().number_of_subscribers() == 0 && !stop.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    output.update_connections().map_err(why)?;
    while !stop.load(Ordering::Relaxed) {
        send(&output, black_box(&text))?;
    }
    Ok(())
}

/// What the child does until its input ends: `echo`, or `produce BYTES DEPTH TOUCHED`.
pub(crate) fn other_side(job: &[&str]) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    std::thread::spawn(move || {
        pin(1);
        let _ = std::io::stdin().read(&mut [0]);
        told.store(true, Ordering::Relaxed);
    });
    pin(1);
    let node = node()?;
    match *job {
        ["echo"] => echo(&node, &stop),
        ["produce", bytes, depth, touched] => {
            produce(&node, (bytes.parse()?, depth.parse()?, touched.parse()?), &stop)
        }
        _ => bail!("no such job"),
    }
}

/// One-way nanoseconds of 64 bytes between two processes.
pub(crate) fn ping_pong() -> Result<f64> {
    pin(0);
    let node = node()?;
    let (there, back) = (topic(&node, "bench/a", 1, true)?, topic(&node, "bench/b", 1, true)?);
    let (output, input) =
        (publisher(&there, 64)?, back.subscriber_builder().create().map_err(why)?);
    let other = Other::start(&["iceoryx", "echo"])?;
    while there.dynamic_config().number_of_subscribers() == 0
        || back.dynamic_config().number_of_publishers() == 0
    {
        std::thread::yield_now();
    }
    std::thread::sleep(std::time::Duration::from_millis(40));
    output.update_connections().map_err(why)?;
    let message = [7_u8; 64];
    let mut failure = None;
    let value = latency(ROUND_TRIPS, || {
        let trip = send(&output, black_box(&message))
            .and_then(|_| wait_for(&input, |bytes| black_box(<[u8; 64]>::try_from(bytes).ok())));
        failure = trip.err().or(failure.take());
    });
    drop(other);
    failure.map_or(Ok(value), Err)
}

/// Messages a second from one process to another.
pub(crate) fn stream(bytes: usize, depth: usize, touched: bool) -> Result<f64> {
    pin(0);
    let node = node()?;
    let topic = topic(&node, "bench/p", depth, false)?;
    let input = topic.subscriber_builder().create().map_err(why)?;
    let (bytes, depth) = (bytes.to_string(), depth.to_string());
    let other = Other::start(&["iceoryx", "produce", &bytes, &depth, &touched.to_string()])?;
    wait_for(&input, |_| ())?;
    let mut total = 0_u64;
    let value = rate(|| match input.receive() {
        Ok(Some(sample)) => {
            let payload = sample.payload();
            total = total.wrapping_add(if touched { sum(payload) } else { payload[0].into() });
            1
        }
        _ => 0,
    });
    black_box(total);
    drop(other);
    Ok(value)
}
