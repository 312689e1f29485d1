import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { healthOf, LONGEST_SENTENCE, SILENCE_MS } from "./health";
import type { Sample } from "./sample";
import { NO_VALUES, type Values } from "./values";

const GOOD: Partial<Values> = { ack_seconds_p99: 0.004, disk_free_bytes: 60, disk_size_bytes: 100, durability_lag_seconds: 0.001, archive_lag_seconds: 5, archive_lag_records: 9, certificate_tls_seconds: 40 * 86_400, certificate_webtransport_seconds: 5 * 86_400 };

function sample(values: Partial<Values>): Sample {
  return { at: 1_790_000_000_000, values: { ...NO_VALUES, ...GOOD, ...values }, stages: [], notReady: null };
}

function judged(values: Partial<Values>, silentMs = 0) {
  const health = healthOf([sample(values)], silentMs);
  return { ...health, sentence: health.sentence.replaceAll("\u00a0", " ") };
}

describe("health", () => {
  it("is well, and says what by", () => {
    expect(judged({})).toEqual({ state: "well", faults: [], sentence: "It is well: acks take 4 ms at p99, 60 % of the disk is free." });
  });

  it("is well where nobody writes and nothing is archived", () => {
    expect(judged({ ack_seconds_p99: null, archive_lag_seconds: null }).sentence).toBe("It is well: nobody waits for an ack, 60 % of the disk is free.");
  });

  it.each<[string, Partial<Values>, string]>([
    ["durability lags", { durability_lag_seconds: 2.5 }, "an update has waited 2.5 s to be durable (limit 1 s)"],
    ["acks are slow", { ack_seconds_p99: 0.0501 }, "acks take 50.1 ms at p99 (limit 50 ms)"],
    ["the disk is almost full", { disk_free_bytes: 9.9 }, "only 9 % of the disk is free (9.9 B)"],
    ["every update is refused", { refused_per_second: 24, acked_per_second: 0 }, "every update is refused, 24 refusals/s"],
    ["joins are slow", { join_seconds_p99: 1.6 }, "joins take 1.6 s at p99 (limit 1.5 s)"],
    ["the archive is not reached", { archive_lag_seconds: 31, archive_lag_records: null }, "the archive has not been reached since the start, 31 s ago"],
    ["a certificate is near its end", { certificate_tls_seconds: 13 * 86_400 }, "the TLS certificate ends in 13 d"],
    ["a certificate is near its end", { certificate_webtransport_seconds: 11 * 3_600 }, "the WebTransport certificate ends in 11 h"],
    ["a certificate has ended", { certificate_tls_seconds: -3 * 3_600 }, "the TLS certificate ended 3 h ago: browsers turn away"],
    ["the archive lags", { archive_lag_seconds: 601 }, "the archive is 10 min behind (limit 10 min)"],
  ])("is not well when %s", (fault, values, words) => {
    expect(judged(values)).toEqual({ state: "unwell", faults: [fault], sentence: `It is not well: ${words}.` });
  });

  it("is not well while no updates are taken, whatever else is known", () => {
    const full = { ...sample({ ack_seconds_p99: null }), notReady: "the log takes no writes: the disk is full" };
    expect(healthOf([full], 0)).toEqual({ state: "unwell", faults: ["no updates are taken"], sentence: "It is not well: no updates are taken: the log takes no writes: the disk is full." });
    const long = { ...full, notReady: "n".repeat(1_000) };
    expect(healthOf([long], 0).sentence.length).toBeLessThan(150);
  });

  it("is well where some are refused: not all of them, or not for long", () => {
    const refusing = { refused_per_second: 24, acked_per_second: 0 };
    expect(judged({ ...refusing, acked_per_second: 1 }).state).toBe("well");
    const seconds = (refused: number) => Array.from({ length: 10 }, (_, second) => sample(second < refused ? refusing : { refused_per_second: 0, acked_per_second: 0 }));
    expect(healthOf(seconds(5), 0).state).toBe("well");
    expect(healthOf(seconds(6), 0).state).toBe("unwell");
    expect(healthOf([sample({ acked_per_second: 1 }), ...seconds(9)], 0).state).toBe("unwell");
    expect(healthOf([...seconds(9), sample({ ...refusing, acked_per_second: 1 })], 0).state).toBe("well");
  });

  it("is well at each limit exactly", () => {
    expect(judged({ durability_lag_seconds: 1, ack_seconds_p99: 0.05, join_seconds_p99: 1.5, disk_free_bytes: 10, archive_lag_seconds: 600, certificate_tls_seconds: 14 * 86_400, certificate_webtransport_seconds: 43_200 }).state).toBe("well");
  });

  it("names the gravest two of many faults, and counts the others", () => {
    const { sentence, faults } = judged({ durability_lag_seconds: 2, ack_seconds_p99: 1, disk_free_bytes: 0, archive_lag_seconds: 7_200 });
    expect(faults).toHaveLength(4);
    expect(sentence).toMatch(/^It is not well: an update has waited .*; only 0 % of the disk is free \(0 B\); and 2 more\.$/);
  });

  it("says what it does not know, and does not take it for good", () => {
    expect(judged({ disk_free_bytes: null, durability_lag_seconds: null }).sentence).toBe("It is well as far as is known: acks take 4 ms at p99; there is no data on the durability lag and the disk.");
  });

  it("does not call an archive well that it has not reached yet", () => {
    expect(judged({ archive_lag_seconds: 2, archive_lag_records: null }).sentence).toBe("It is well as far as is known: acks take 4 ms at p99, 60 % of the disk is free; there is no data on the archive.");
  });

  it("says of a certificate that has ended before of what only is slow", () => {
    expect(judged({ certificate_tls_seconds: -1, certificate_webtransport_seconds: 1, durability_lag_seconds: 2, ack_seconds_p99: 1 }).faults).toEqual(["a certificate has ended", "durability lags", "acks are slow"]);
  });

  it("does not know when samples are missing, however good the last one was", () => {
    expect(judged({}, SILENCE_MS).state).toBe("well");
    const { state, sentence, faults } = judged({}, SILENCE_MS + 1);
    expect({ state, faults }).toEqual({ state: "unknown", faults: ["samples are missing"] });
    expect(sentence).toMatch(/samples are missing for 3 s\. What you see is as of \d\d:\d\d:\d\d\.$/);
    expect(healthOf([], null).state).toBe("unknown");
  });

  it("does not call one slow second an illness, but does most of them", () => {
    const seconds = (slow: number): Sample[] => Array.from({ length: 10 }, (_, i) => sample({ ack_seconds_p99: i < slow ? 0.2 : 0.004 }));
    expect(healthOf(seconds(4), 0).state).toBe("well");
    expect(healthOf(seconds(6), 0).state).toBe("unwell");
  });

  it("says no more than a page keeps space for", () => {
    const seconds = fc.option(fc.double({ min: 0, max: 864_000, noNaN: true }));
    const disk = fc.option(fc.record({ size: fc.double({ min: 1e6, max: 9e14, noNaN: true }), free: fc.double({ min: 0, max: 1, noNaN: true }) }));
    const left = fc.option(fc.oneof(fc.double({ min: -9e6, max: 9e6, noNaN: true }), fc.constant(-5_933)));
    const values = fc.record({ lag: seconds, ack: seconds, join: seconds, archive: seconds, reached: fc.boolean(), tls: left, own: left, disk }).map(({ lag, ack, join, archive, reached, tls, own, disk }) => ({
      durability_lag_seconds: lag,
      ack_seconds_p99: ack,
      join_seconds_p99: join,
      archive_lag_seconds: archive,
      archive_lag_records: reached ? 1 : null,
      certificate_tls_seconds: tls,
      certificate_webtransport_seconds: own,
      disk_size_bytes: disk?.size ?? null,
      disk_free_bytes: disk === null ? null : disk.size * disk.free,
    }));
    const silence = fc.integer({ min: 0, max: 864_000_000 });
    const reason = fc.option(fc.oneof(fc.string({ maxLength: 300 }), fc.constant("why ".repeat(75))));
    const kept = (said: Partial<Values>, notReady: string | null, silentMs: number): void => {
      expect(healthOf([{ ...sample(said), notReady }], silentMs).sentence.length).toBeLessThanOrEqual(LONGEST_SENTENCE.length);
    };
    fc.assert(fc.property(values, reason, silence, kept), { numRuns: 2_000 });
  });
});
