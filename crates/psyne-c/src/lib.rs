#![doc = include_str!("../README.md")]

mod config;
mod end;
mod layout;
mod request;
mod status;
mod tensor;

pub use config::{
    Config, PSYNE_ADAPTIVE, PSYNE_BLOCK, PSYNE_BROADCAST, PSYNE_LAG_BLOCK, PSYNE_LAG_SKIP,
    PSYNE_LATEST, PSYNE_PARK, PSYNE_QUEUE, PSYNE_REFUSE, PSYNE_SPIN, psyne_config_default,
};
pub use end::{
    Receiver, Sender, Stats, psyne_abort, psyne_commit, psyne_loan, psyne_newest,
    psyne_receiver_close, psyne_receiver_open, psyne_receiver_stats, psyne_receivers, psyne_recv,
    psyne_release, psyne_send, psyne_sender_close, psyne_sender_open, psyne_sender_stats,
    psyne_unread,
};
pub use layout::{Layout, PSYNE_BYTES, psyne_layout_array, psyne_layout_field, psyne_layout_named};
pub use request::{
    Client, Server, psyne_call, psyne_client_close, psyne_client_open, psyne_refuse, psyne_reply,
    psyne_server_close, psyne_server_next, psyne_server_open,
};
pub use status::{Status, psyne_error_number, psyne_error_text, psyne_status_code};
pub use tensor::{
    psyne_tensor_arrow, psyne_tensor_arrow_send, psyne_tensor_dlpack, psyne_tensor_dlpack_send,
};
