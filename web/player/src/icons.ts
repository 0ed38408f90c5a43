/** 24-unit icons, drawn for this player; `currentColor`, hidden from assistive technology. */
const icon = (path: string): string =>
  `<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="${path}"/></svg>`;

export const ICONS = {
  play: icon("M8 5.5v13a.8.8 0 0 0 1.2.7l10.4-6.5a.8.8 0 0 0 0-1.4L9.2 4.8A.8.8 0 0 0 8 5.5z"),
  pause: icon("M7 5h3.5v14H7zM13.5 5H17v14h-3.5z"),
  volume: icon(
    "M4 9.5v5h3.5L12 19V5L7.5 9.5zM14.5 8.5a4.5 4.5 0 0 1 0 7v-1.9a3 3 0 0 0 0-3.2z" +
      "M14.5 5.2a7.5 7.5 0 0 1 0 13.6v-1.7a6 6 0 0 0 0-10.2z",
  ),
  muted: icon(
    "M4 9.5v5h3.5L12 19V5L7.5 9.5zM15 10.1l1.1-1.1 1.9 1.9 1.9-1.9L21 10.1 19.1 12l1.9 1.9" +
      "-1.1 1.1-1.9-1.9-1.9 1.9L15 13.9l1.9-1.9z",
  ),
  enlarge: icon("M5 5h6v2H7v4H5zM13 5h6v6h-2V7h-4zM5 13h2v4h4v2H5zM17 13h2v6h-6v-2h4z"),
  shrink: icon("M9 5h2v6H5V9h4zM13 5h2v4h4v2h-6zM5 13h6v6H9v-4H5zM13 13h6v2h-4v4h-2z"),
  pip: icon("M4 6h16v12H4zm2 2v8h12V8zm5.5 3.5h5.5v3.5h-5.5z"),
  stats: icon("M5 13h3v6H5zM10.5 5h3v14h-3zM16 9h3v10h-3z"),
  help: icon(
    "M12 4a4 4 0 0 1 4 4c0 2.6-3 3-3 5.5h-2c0-3.5 3-3.8 3-5.5a2 2 0 0 0-4 0H8a4 4 0 0 1 4-4z" +
      "M10.9 16h2.2v2.5h-2.2z",
  ),
} as const;
