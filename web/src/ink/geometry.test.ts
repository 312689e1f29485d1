import { describe, expect, it } from "vitest";
import { centred, contains, fitting, shownBy, toCanvas, toScreen, touches, zoomed, ZOOM_MAX } from "./geometry";

const screen = { width: 800, height: 600 };

describe("the camera", () => {
  it("goes to the canvas and back", () => {
    const camera = { x: 12, y: -7, zoom: 2 };
    expect(toScreen(camera, toCanvas(camera, { x: 30, y: 8 }))).toEqual({ x: 30, y: 8 });
  });

  it("zooms around the pointer and stops at the limit", () => {
    const at = { x: 200, y: 100 };
    const near = zoomed(centred(screen), 3, at);
    expect(toCanvas(near, at)).toEqual(toCanvas(centred(screen), at));
    expect(zoomed(near, 1_000, at).zoom).toBe(ZOOM_MAX);
  });

  it("fits content inside the insets", () => {
    const content = { left: -500, top: 0, right: 2_500, bottom: 400 };
    const camera = fitting(content, screen, { top: 60, bottom: 100, side: 20 });
    expect(contains(shownBy(camera, screen), content)).toBe(true);
    expect(toScreen(camera, { x: -500, y: 200 }).x).toBeCloseTo(20);
  });

  it("does not magnify a single dot", () => {
    const dot = { left: 5, top: 5, right: 5, bottom: 5 };
    expect(fitting(dot, screen, { top: 0, bottom: 0, side: 0 }).zoom).toBe(1);
  });
});

describe("touches", () => {
  const line: [number, number, number][] = [[0, 0, 0.5], [100, 0, 0.5]];
  it("finds a crossing between samples", () =>
    expect(touches(line, { x: 50, y: -40 }, { x: 50, y: 40 }, 1)).toBe(true));
  it("respects the reach", () => {
    expect(touches(line, { x: 50, y: 5 }, { x: 60, y: 5 }, 4)).toBe(false);
    expect(touches(line, { x: 50, y: 5 }, { x: 60, y: 5 }, 6)).toBe(true);
  });
  it("works on dots and on nothing", () => {
    expect(touches([[1, 1, 0.5]], { x: 0, y: 0 }, { x: 2, y: 2 }, 0.5)).toBe(true);
    expect(touches([], { x: 0, y: 0 }, { x: 2, y: 2 }, 9)).toBe(false);
  });
});
