//! How an end is opened, as Python says it.

use std::time::Duration;

use psyne::channel::{Config, Full, Wait};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::SLICE;

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

/// Seconds as Python counts them; none is as long as it takes.
pub(crate) fn time(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let read = |seconds| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err("a timeout is a number of seconds from 0 on"))
    };
    seconds.map(read).transpose()
}
