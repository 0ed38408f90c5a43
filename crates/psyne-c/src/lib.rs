#![doc = include_str!("../README.md")]

mod config;
mod end;
mod event;
mod layout;
mod request;
mod status;
mod tensor;

pub use config::{
    Config, PSYNE_ADAPTIVE, PSYNE_BLOCK, PSYNE_BROADCAST, PSYNE_LAG_BLOCK, PSYNE_LAG_SKIP,
    PSYNE_LAG_SKIP_TO_MARK, PSYNE_LATEST, PSYNE_MPMC, PSYNE_MPSC, PSYNE_PARK, PSYNE_QUEUE,
    PSYNE_REFUSE, PSYNE_SPIN, PSYNE_SPMC, psyne_config_default,
};
pub use end::{
    Receiver, Sender, Stats, psyne_abort, psyne_arm, psyne_commit, psyne_loan, psyne_mark,
    psyne_newest, psyne_receiver_close, psyne_receiver_open, psyne_receiver_stats, psyne_receivers,
    psyne_recv, psyne_release, psyne_send, psyne_send_marked, psyne_sender_close,
    psyne_sender_open, psyne_sender_stats, psyne_unread, psyne_watch,
};
pub use event::{
    Events, Listener, Notifier, psyne_listener_arm, psyne_listener_close, psyne_listener_join,
    psyne_listener_open, psyne_listener_watch, psyne_notifier_close, psyne_notifier_open,
    psyne_notify, psyne_wait,
};
pub use layout::{Layout, PSYNE_BYTES, psyne_layout_array, psyne_layout_field, psyne_layout_named};
pub use request::{
    Client, Server, psyne_begin, psyne_call, psyne_client_close, psyne_client_open, psyne_finish,
    psyne_forget, psyne_refuse, psyne_reply, psyne_server_arm, psyne_server_close,
    psyne_server_next, psyne_server_open, psyne_server_watch,
};
pub use status::{Status, psyne_error_number, psyne_error_text, psyne_status_code};
pub use tensor::{
    psyne_tensor_arrow, psyne_tensor_arrow_send, psyne_tensor_dlpack, psyne_tensor_dlpack_send,
};
