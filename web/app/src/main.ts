import "./app.css";
import { prefetch } from "@streamr/player/prefetch";
import { route } from "./route.ts";

/** Loads the page of this address. */
function show(): void {
  const here = route(location.pathname);
  const target = document.getElementById("app")!;
  if (here.page === "watch") {
    // Before anything else: media is on its way while the player's code is.
    prefetch(document);
    void import("./watch.ts").then(({ show }) => show(target, here.name));
  } else if (here.page === "home") {
    void import("./home.ts").then(({ show }) => show(target));
  } else {
    void import("./missing.ts").then(({ show }) => show(target));
  }
}

// This script waits neither for styles, which hold back the painting, nor for the page's end.
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", show);
else show();
