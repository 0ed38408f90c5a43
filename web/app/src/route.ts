/** The pages of the app. */
export type Route = { page: "home" } | { page: "watch"; name: string } | { page: "missing" };

/** Which page a path shows. */
export function route(path: string): Route {
  if (path === "/" || path === "/index.html") return { page: "home" };
  const name = /^\/watch\/([^/]+)\/?$/.exec(path)?.[1];
  try {
    return name ? { page: "watch", name: decodeURIComponent(name) } : { page: "missing" };
  } catch {
    return { page: "missing" }; // a broken percent escape
  }
}
