//! Psyne's channels from Python: the extension behind the package in `python/`. Its README and type
//! stubs say how it is used.

mod error;
mod event;
mod layout;
mod options;
mod own;
mod receiver;
mod request;
mod sender;
mod tensor;
mod watch;

use pyo3::prelude::*;

#[pymodule]
fn _psyne(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<layout::Layout>()?;
    module.add_class::<sender::Sender>()?;
    module.add_class::<sender::Loan>()?;
    module.add_class::<receiver::Receiver>()?;
    module.add_class::<receiver::Message>()?;
    module.add_class::<tensor::Tensor>()?;
    module.add_class::<request::Client>()?;
    module.add_class::<request::Server>()?;
    module.add_class::<request::Call>()?;
    module.add_class::<event::Notifier>()?;
    module.add_class::<event::Listener>()?;
    module.add_function(wrap_pyfunction!(own::_forked, module)?)?;
    error::add(module)
}
