//! How an end is opened, as Python says it.

use std::time::Duration;

use psyne::channel::{Config, Full, Wait};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::watch::SLICE;

/// The configuration; a sender that blocks does so in slices, so that Ctrl-C is noticed.
pub(crate) fn config(slots: Option<usize>, wait: &str, blocks: bool) -> PyResult<Config> {
    let wait = match wait {
        "spin" => Wait::Spin,
        "adaptive" => Wait::Adaptive,
        "park" => Wait::Park,
        _ => return Err(PyValueError::new_err("wait is \"spin\", \"adaptive\" or \"park\"")),
    };
    let full = if blocks { Full::BlockFor(SLICE) } else { Full::Refuse };
    let default = Config::default();
    Ok(Config { slots: slots.unwrap_or(default.slots), wait, full, ..default })
}

/// As long as anybody waits: what clocks can count to is longer.
const AGES: Duration = Duration::from_secs(1 << 32);

/// Seconds as Python counts them; none is as long as it takes.
pub(crate) fn time(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let read = |seconds: f64| {
        Duration::try_from_secs_f64(if seconds > AGES.as_secs_f64() {
            AGES.as_secs_f64()
        } else {
            seconds
        })
        .map_err(|_| PyValueError::new_err("a timeout is a number of seconds from 0 on"))
    };
    seconds.map(read).transpose()
}
