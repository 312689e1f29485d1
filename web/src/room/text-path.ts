/** Where a text is edited: `/text/{name}`, the name being one encoded segment. */

export function textPath(name: string): string {
  return `/text/${encodeURIComponent(name)}`;
}

/** Reads a path; a name whose slashes stand as they are is taken too. Null when it names no text. */
export function textOfPath(path: string): string | null {
  const match = /^\/text\/(.+?)\/?$/.exec(path);
  if (match === null) return null;
  try {
    return decodeURIComponent(match[1] ?? "");
  } catch {
    return null;
  }
}
