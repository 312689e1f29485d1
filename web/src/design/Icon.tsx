/** Line icons on a 20-unit grid, drawn in the text's colour. Always beside or inside a named control. */

const PATHS = {
  pen: "M3.5 16.5l.9-3.6L13.6 3.7a1.5 1.5 0 0 1 2.1 0l.6.6a1.5 1.5 0 0 1 0 2.1L7.1 15.6zM12 5.3L14.7 8",
  eraser: "M8.2 16.5L3.6 11.9a1.4 1.4 0 0 1 0-2l6.3-6.3a1.4 1.4 0 0 1 2 0l4.5 4.5a1.4 1.4 0 0 1 0 2l-6.4 6.4zM6.6 6.9l6.5 6.5M8 16.5h8.5",
  undo: "M7.5 4L3.5 8l4 4M4 8h7.5a4.5 4.5 0 0 1 0 9H9",
  redo: "M12.5 4l4 4-4 4M16 8H8.5a4.5 4.5 0 0 0 0 9H11",
  fit: "M3.5 7.5v-4h4M12.5 3.5h4v4M16.5 12.5v4h-4M7.5 16.5h-4v-4",
  share: "M10 12.5V3M6.5 6L10 2.8 13.5 6M4.5 10v6.5h11V10",
  help: "M7.3 7.6a2.7 2.7 0 1 1 4 2.4c-.9.5-1.3 1-1.3 2M10 15v.1",
  close: "M5 5l10 10M15 5L5 15",
  copy: "M7.5 7.5h9v9h-9zM4.5 12.5h-1v-9h9v1",
  check: "M4 10.5l4 4 8-9",
  eye: "M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10zM10 12.3a2.3 2.3 0 1 0 0-4.6 2.3 2.3 0 0 0 0 4.6z",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  play: "M6.5 4.2v11.6L16 10z",
  pause: "M7 4.5v11M13 4.5v11",
  first: "M15 4.5L8 10l7 5.5zM5 4.5v11",
  last: "M5 4.5l7 5.5-7 5.5zM15 4.5v11",
  back: "M12.5 4.5L7 10l5.5 5.5",
  forward: "M7.5 4.5L13 10l-5.5 5.5",
  history: "M3.2 10a6.8 6.8 0 1 0 2.2-5M3.2 3.4v3.4h3.4M10 6.2V10l2.6 1.6",
  fork: "M5.5 7v6M5.5 10c5 0 9 .2 9-3.2M5.5 7a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6zM5.5 16.6a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6zM14.5 6.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6z",
  link: "M8.5 11.5a3 3 0 0 0 4.3 0l2.8-2.8a3 3 0 0 0-4.3-4.3l-1 1M11.5 8.5a3 3 0 0 0-4.3 0l-2.8 2.8a3 3 0 0 0 4.3 4.3l1-1",
  download: "M10 3v9.5M6.5 9.3L10 12.7l3.5-3.4M4 16.5h12",
  list: "M7 5.5h9.5M7 10h9.5M7 14.5h9.5M3.5 5.5v.1M3.5 10v.1M3.5 14.5v.1",
  arrow: "M4 10h12M11.5 5.5L16 10l-4.5 4.5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
