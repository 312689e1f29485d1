import { describe, expect, it } from "vitest";
import { CHARTS, FIGURES } from "./charts";
import { DEPTHS, flameOf } from "./life";
import { readRoomDetail, readRoomList } from "./rooms";
import { EVENTS_MAX, readEvent, readEvents, readSample, withEvent, type RibbonEvent } from "./sample";
import { NO_VALUES, VALUE_KEYS, VALUES } from "./values";

describe("a sample", () => {
  it("has every value, null where the server says none or nonsense", () => {
    const sample = readSample({ at: 5, values: { updates_per_second: 2, sessions: null, rooms_loaded: "9", future: 1 }, stages: [{ stage: "sync", count: 3, p50: 0.1 }, "no"] });
    expect(sample).toEqual({ at: 5, values: { ...NO_VALUES, updates_per_second: 2 }, stages: [{ stage: "sync", count: 3, p50: 0.1, p99: null }], notReady: null });
    expect(readSample({ values: {} })).toBeNull();
    expect(readSample(null)).toBeNull();
  });
});

describe("events", () => {
  const event = (at: number): RibbonEvent => ({ at, kind: "start", text: "started", severity: "info" });

  it("are as many as are kept, the newest of them", () => {
    const all = Array.from({ length: EVENTS_MAX + 20 }, (_, at) => event(at));
    expect(readEvents({ events: all })).toEqual(all.slice(20));
    expect(withEvent(all.slice(20), event(9_999))).toHaveLength(EVENTS_MAX);
  });

  it("of a severity that is not known are not played down", () => {
    expect(readEvent({ ...event(1), severity: "fatal" })?.severity).toBe("warn");
    expect(readEvent({ at: 1 })).toBeNull();
  });
});

describe("the life of an update", () => {
  const stage = (stage: string, p50: number | null) => ({ stage, count: 1, p50, p99: null });

  it("is each stage within the one that holds it, and as wide as it takes", () => {
    const blocks = flameOf([stage("check", 1), stage("queue", null), stage("write", 1), stage("sync", 3), stage("append", 5), stage("ack", 8), stage("fanout", 2)], "p50");
    expect(blocks).toEqual([
      { stage: "ack", seconds: 8, from: 0, share: 0.8, depth: 0 },
      { stage: "check", seconds: 1, from: 0, share: 0.1, depth: 1 },
      { stage: "append", seconds: 5, from: 0.1, share: 0.5, depth: 1 },
      { stage: "write", seconds: 1, from: 0.1, share: 0.1, depth: 2 },
      { stage: "sync", seconds: 3, from: 0.2, share: 0.3, depth: 2 },
      { stage: "fanout", seconds: 2, from: 0.8, share: 0.2, depth: 0 },
    ]);
    expect(Math.max(...blocks.map(({ depth }) => depth))).toBe(DEPTHS - 1);
  });

  it("holds what is within it, where percentiles say less, or nothing", () => {
    const blocks = flameOf([stage("sync", 4), stage("append", 3), stage("fanout", 1)], "p50");
    expect(blocks.map(({ stage, share }) => [stage, share])).toEqual([["ack", 0.8], ["append", 0.8], ["sync", 0.8], ["fanout", 0.2]]);
    expect(blocks[0]?.seconds).toBeNull();
  });

  it("is not known where no stage is", () => {
    expect(flameOf([stage("check", 1)], "p99")).toEqual([]);
  });
});

describe("rooms", () => {
  it("are listed with what is known of them", () => {
    const list = readRoomList({ rooms: [{ room: "pit/x", kind: "yjs", updates_per_second: 1, head: 3 }, { kind: "yjs" }], loaded: 7 });
    expect(list?.loaded).toBe(7);
    expect(list?.rooms).toEqual([{ room: "pit/x", kind: "yjs", updatesPerSecond: 1, bytesPerSecond: null, sessions: null, lagRecords: null, head: 3, documentBytes: null }]);
  });

  it("closer have their sessions, which the server may have more of, or else a list of its own for", () => {
    const detail = readRoomDetail({ room: "pit/x", kind: "yjs", history: { updates_per_second: [1, null] }, sessions: [{ session: "a", user: null, rtt_seconds: null, sent_bytes: 5 }], sessions_total: 400 });
    expect(detail?.updatesHistory).toEqual([1, null]);
    expect(detail?.listedOf).toBe(400);
    expect(detail?.listed[0]).toMatchObject({ session: "a", user: null, rttSeconds: null, sentBytes: 5 });
  });
});

describe("the charts", () => {
  it("have one unit each", () => {
    for (const { lines, unit } of CHARTS) for (const { key } of lines) expect(VALUES[key]).toBe(unit);
  });

  it("and the figures leave out no value but those that others are made of or that are only judged by", () => {
    const shown = new Set([
      ...CHARTS.flatMap(({ lines }) => lines.map(({ key }) => key)),
      ...FIGURES.flatMap(({ key, beside }) => {
        const other = beside(NO_VALUES);
        return typeof other === "string" ? [key] : [key, other.key];
      }),
    ]);
    expect(VALUE_KEYS.filter((key) => !shown.has(key))).toEqual(["records_per_second", "archive_lag_bytes", "tokio_queue", "certificate_tls_seconds", "certificate_webtransport_seconds"]);
  });
});
