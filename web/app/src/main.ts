import "./app.css";
import { prefetch } from "@streamr/player/prefetch";
import { playlist } from "./api.ts";
import { route } from "./route.ts";

const here = route(location.pathname);
const target = document.getElementById("app")!;

// Before anything else: the playlist is the first link of the chain to the first frame.
if (here.page === "watch") {
  prefetch(playlist(here.name));
  void import("./watch.ts").then(({ show }) => show(target, here.name));
} else if (here.page === "home") {
  void import("./home.ts").then(({ show }) => show(target));
} else {
  void import("./missing.ts").then(({ show }) => show(target));
}
