/**
 * Whatever asks to be drawn is drawn in the next frames, once each, and a few in one: a canvas is painted
 * after its commands were given, and all of them at once would take longer than a frame lasts.
 */

const IN_ONE_FRAME = 2;

const asked = new Set<() => void>();
let frame = 0;

export function inNextFrame(draw: () => void): void {
  asked.add(draw);
  if (frame === 0) frame = requestAnimationFrame(drawSome);
}

export function notInNextFrame(draw: () => void): void {
  asked.delete(draw);
}

function drawSome(): void {
  const draws = [...asked].slice(0, IN_ONE_FRAME);
  for (const draw of draws) {
    asked.delete(draw);
    draw();
  }
  frame = asked.size === 0 ? 0 : requestAnimationFrame(drawSome);
}
