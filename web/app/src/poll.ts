/**
 * Calls `task` now and then every `everyMs` while the page is seen; once more when it is seen
 * again.
 * Returns what stops it. `task` must not throw.
 */
export function poll(task: () => Promise<void>, everyMs: number): () => void {
  let timer = 0;
  let stopped = false;
  const turn = async () => {
    clearTimeout(timer);
    await task();
    if (!stopped && !document.hidden) timer = window.setTimeout(turn, everyMs);
  };
  const seen = () => (document.hidden ? clearTimeout(timer) : void turn());
  document.addEventListener("visibilitychange", seen);
  void turn();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
  };
}
