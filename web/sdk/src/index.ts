export { Backoff } from "./backoff.ts";
export { Channel, type Delivery, type Message, type Reason } from "./channel.ts";
export { Group, type GroupEvents, type GroupOptions } from "./group.ts";
export { PsyneError, type Ice, type Signal } from "./protocol.ts";
