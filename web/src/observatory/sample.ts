/** What the server says each second, and what it tells of as it happens. Whatever it says is checked here. */

import { isRecord } from "../room/browser-storage";
import { numberOrNull, readValues, type Values } from "./values";

export interface Sample {
  /** Unix milliseconds, by the server's clock. */
  readonly at: number;
  readonly values: Values;
  readonly stages: readonly Stage[];
  /** Why the server takes no updates; null while it does. */
  readonly notReady: string | null;
}

/** A stage of an update's life, over the last minute. */
export interface Stage {
  readonly stage: string;
  readonly count: number | null;
  readonly p50: number | null;
  readonly p99: number | null;
}

export type Severity = "info" | "warn" | "error";

export interface RibbonEvent {
  readonly at: number;
  readonly kind: string;
  readonly text: string;
  readonly severity: Severity;
}

const STAGES_MAX = 16;
const SEVERITIES: readonly Severity[] = ["info", "warn", "error"];

export function readSample(said: unknown): Sample | null {
  if (!isRecord(said) || typeof said["at"] !== "number") return null;
  const stages = Array.isArray(said["stages"]) ? said["stages"] : [];
  return { at: said["at"], values: readValues(said["values"]), stages: stages.slice(0, STAGES_MAX).flatMap(readStage), notReady: typeof said["not_ready"] === "string" ? said["not_ready"] : null };
}

function readStage(said: unknown): readonly Stage[] {
  if (!isRecord(said) || typeof said["stage"] !== "string") return [];
  return [{ stage: said["stage"], count: numberOrNull(said["count"]), p50: numberOrNull(said["p50"]), p99: numberOrNull(said["p99"]) }];
}

export function readEvent(said: unknown): RibbonEvent | null {
  if (!isRecord(said)) return null;
  const { at, kind, text } = said;
  if (typeof at !== "number" || typeof kind !== "string" || typeof text !== "string") return null;
  // What is unknown is not played down.
  return { at, kind, text, severity: SEVERITIES.find((known) => known === said["severity"]) ?? "warn" };
}

export const EVENTS_MAX = 500;

/** Newest last, as they are kept. */
export function readEvents(said: unknown): readonly RibbonEvent[] | null {
  if (!isRecord(said) || !Array.isArray(said["events"])) return null;
  return said["events"].flatMap((event) => readEvent(event) ?? []).slice(-EVENTS_MAX);
}

export function withEvent(events: readonly RibbonEvent[], event: RibbonEvent): readonly RibbonEvent[] {
  return [...events, event].slice(-EVENTS_MAX);
}
