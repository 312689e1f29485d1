/** Whether the Well is well, in one sentence. Pure: what it judges by is given to it. */

import { clockText } from "../past/moment";
import { share, withUnit } from "../design/units";
import type { Sample } from "./sample";
import { NO_VALUES, type ValueKey, type Values } from "./values";

export interface Health {
  readonly state: "well" | "unwell" | "unknown";
  readonly sentence: string;
  /** What is wrong, without its numbers: it changes only when something else is wrong. */
  readonly faults: readonly string[];
}

/** Acks are promised within this. */
export const ACK_LIMIT_S = 0.05;
export const DURABILITY_LIMIT_S = 1;
/** A join is promised within this. */
export const JOIN_LIMIT_S = 1.5;
export const ARCHIVE_LIMIT_S = 600;
export const DISK_FREE_MIN = 0.1;
/** An archive is reached for as the server starts; by then it has been. */
export const ARCHIVE_REACHED_S = 30;
const DAY_S = 86_400;
/** An authority's certificate is renewed long before. */
export const TLS_LEFT_S = 14 * DAY_S;
/** The server's own has a successor a day before its end. */
export const OWN_LEFT_S = DAY_S / 2;
/** Samples come every second; after this, the next one is missing. */
export const SILENCE_MS = 3_000;
/** An ack's p99 is judged by the middle one of so many seconds: a single slow second is no illness. */
export const JUDGED_SAMPLES = 10;
const FAULTS_NAMED = 2;
const CERTIFICATE_ENDED = "a certificate has ended";
/** Why the server takes nothing is said in at most so many characters. */
const REASON_CHARS = 100;

interface Fault {
  readonly name: string;
  readonly words: string;
}

/**
 * @param recent the latest samples, newest last
 * @param silentMs how long ago the last one came; null when none has come yet
 */
export function healthOf(recent: readonly Sample[], silentMs: number | null): Health {
  const last = recent.at(-1);
  if (last === undefined || silentMs === null) {
    return { state: "unknown", sentence: "It is not known yet: no sample has come from the server.", faults: [] };
  }
  if (silentMs > SILENCE_MS) {
    const sentence = `It is not known: samples are missing for ${withUnit(Math.floor(silentMs / 1_000), "seconds")}. What you see is as of ${clockText(last.at, false)}.`;
    return { state: "unknown", sentence, faults: ["samples are missing"] };
  }
  const faults = faultsOf(recent, last);
  return faults.length === 0 ? { state: "well", sentence: wellSentence(last), faults: [] } : { state: "unwell", sentence: unwellSentence(faults), faults: faults.map(({ name }) => name) };
}

/** Everything is wrong, in numbers of three digits and a unit of three letters. */
const WORST: Values = {
  ...NO_VALUES,
  durability_lag_seconds: 5_933,
  disk_free_bytes: 98_900_000_000,
  disk_size_bytes: 10 * 98_900_000_001,
  ack_seconds_p99: 0.0989,
  join_seconds_p99: 98.9,
  archive_lag_seconds: 5_933,
  certificate_tls_seconds: -5_933,
};

/** No sentence is longer: a page keeps as much space. */
export const LONGEST_SENTENCE = healthOf([{ at: 0, values: WORST, stages: [], notReady: "the log takes no writes: ".padEnd(REASON_CHARS, "why ") }], 0).sentence;

/** The gravest first. */
function faultsOf(recent: readonly Sample[], { values, notReady }: Sample): readonly Fault[] {
  const faults: Fault[] = [];
  if (notReady !== null) {
    const reason = notReady.length > REASON_CHARS ? `${notReady.slice(0, REASON_CHARS - 1)}…` : notReady;
    faults.push({ name: "no updates are taken", words: `no updates are taken: ${reason}` });
  }
  const { durability_lag_seconds: lag, disk_free_bytes: free, disk_size_bytes: size, archive_lag_seconds: archive } = values;
  const certificate = certificateFault(values);
  if (certificate?.name === CERTIFICATE_ENDED) faults.push(certificate);
  if (lag !== null && lag > DURABILITY_LIMIT_S) {
    faults.push({ name: "durability lags", words: `an update has waited ${withUnit(lag, "seconds")} to be durable (limit ${withUnit(DURABILITY_LIMIT_S, "seconds")})` });
  }
  if (free !== null && size !== null && size > 0 && free / size < DISK_FREE_MIN) {
    faults.push({ name: "the disk is almost full", words: `only ${share(free, size)} of the disk is free (${withUnit(free, "bytes")})` });
  }
  const refused = middleOf(recent.slice(-JUDGED_SAMPLES), "refused_per_second");
  if (refused !== null && refused > 0 && recent.slice(-JUDGED_SAMPLES).every(({ values }) => values.acked_per_second === 0)) {
    faults.push({ name: "every update is refused", words: `every update is refused, ${withUnit(refused, "refusals/s")}` });
  }
  const ack = middleOf(recent.slice(-JUDGED_SAMPLES), "ack_seconds_p99");
  if (ack !== null && ack > ACK_LIMIT_S) {
    faults.push({ name: "acks are slow", words: `acks take ${withUnit(ack, "seconds")} at p99 (limit ${withUnit(ACK_LIMIT_S, "seconds")})` });
  }
  const join = middleOf(recent.slice(-JUDGED_SAMPLES), "join_seconds_p99");
  if (join !== null && join > JOIN_LIMIT_S) {
    faults.push({ name: "joins are slow", words: `joins take ${withUnit(join, "seconds")} at p99 (limit ${withUnit(JOIN_LIMIT_S, "seconds")})` });
  }
  if (archive !== null && archive > ARCHIVE_REACHED_S && isUnreached(values)) {
    faults.push({ name: "the archive is not reached", words: `the archive has not been reached since the start, ${withUnit(archive, "seconds")} ago` });
  } else if (archive !== null && archive > ARCHIVE_LIMIT_S) {
    faults.push({ name: "the archive lags", words: `the archive is ${withUnit(archive, "seconds")} behind (limit ${withUnit(ARCHIVE_LIMIT_S, "seconds")})` });
  }
  if (certificate !== null && certificate.name !== CERTIFICATE_ENDED) faults.push(certificate);
  return faults;
}

/** The one that is nearer its end, if either is near. */
function certificateFault({ certificate_tls_seconds: tls, certificate_webtransport_seconds: own }: Values): Fault | null {
  const near = [
    { left: tls, limit: TLS_LEFT_S, which: "TLS certificate", felt: ": browsers turn away" },
    { left: own, limit: OWN_LEFT_S, which: "WebTransport certificate", felt: "" },
  ].flatMap(({ left, limit, ...it }) => (left !== null && left < limit ? [{ left, ...it }] : []));
  const [nearest] = near.sort((a, b) => a.left - b.left);
  if (nearest === undefined) return null;
  const { left, which, felt } = nearest;
  if (left <= 0) return { name: CERTIFICATE_ENDED, words: `the ${which} ended ${withUnit(-left, "seconds")} ago${felt}` };
  return { name: "a certificate is near its end", words: `the ${which} ends in ${withUnit(left, "seconds")}` };
}

/** How far an archive is behind is not known until it has been reached once. */
function isUnreached({ archive_lag_seconds: age, archive_lag_records: records }: Values): boolean {
  return age !== null && records === null;
}

function wellSentence({ values }: Sample): string {
  const archive = isUnreached(values) ? ["the archive"] : [];
  const { ack_seconds_p99: ack, disk_free_bytes: free, disk_size_bytes: size, durability_lag_seconds: lag } = values;
  const acks = ack === null ? "nobody waits for an ack" : `acks take ${withUnit(ack, "seconds")} at p99`;
  const unknown = [...(lag === null ? ["the durability lag"] : []), ...(free === null || size === null ? ["the disk"] : []), ...archive];
  const disk = free === null || size === null ? "" : `, ${share(free, size)} of the disk is free`;
  return unknown.length === 0 ? `It is well: ${acks}${disk}.` : `It is well as far as is known: ${acks}${disk}; there is no data on ${unknown.join(" and ")}.`;
}

function unwellSentence(faults: readonly Fault[]): string {
  const more = faults.length - FAULTS_NAMED;
  const named = faults.slice(0, FAULTS_NAMED).map(({ words }) => words);
  return `It is not well: ${named.join("; ")}${more > 0 ? `; and ${more} more` : ""}.`;
}

/** The middle one of those that are known; the lower one of two. */
function middleOf(samples: readonly Sample[], key: ValueKey): number | null {
  const known = samples.flatMap(({ values }) => values[key] ?? []).sort((a, b) => a - b);
  return known[Math.floor((known.length - 1) / 2)] ?? null;
}
