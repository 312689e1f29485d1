import { useEffect, useRef, useState, type KeyboardEvent } from "react";
import { useLocation, useSearch } from "wouter";
import { addressOf, placeOf, TABS, type Place, type Tab } from "../../observatory/address";
import { healthOf, JUDGED_SAMPLES, LONGEST_SENTENCE, SILENCE_MS } from "../../observatory/health";
import type { Observatory, ObservatoryView } from "../../observatory/observatory";
import { clockText } from "../../past/moment";
import { Charts } from "./Charts";
import { Events, Ribbon } from "./Events";
import { Figures } from "./Figures";
import { Life } from "./Life";
import styles from "./ObservatoryPage.module.css";
import { Rooms } from "./Rooms";

const LABELS: Readonly<Record<Tab, string>> = { charts: "Charts", rooms: "Rooms", life: "Life of an update", events: "Events" };

export function Board({ observatory, view }: { observatory: Observatory; view: ObservatoryView }) {
  const [{ tab, range, room }, show] = usePlace();
  useEffect(() => observatory.show(range), [observatory, range]);
  const nowMs = useNow();
  const last = view.recent.at(-1) ?? null;
  const silentMs = view.heardAtMs === null ? null : Math.max(0, nowMs - view.heardAtMs);
  const health = healthOf(view.recent.slice(-JUDGED_SAMPLES), silentMs);
  const stale = silentMs !== null && silentMs > SILENCE_MS;
  const asOf = stale && last !== null ? clockText(last.at, false) : null;
  return (
    <>
      <section className={styles.health} data-testid="health" data-state={health.state} aria-label="Health">
        <div className={styles.sentence} data-longest={LONGEST_SENTENCE}>
          <p>{health.sentence}</p>
        </div>
        <p className={styles.connection} data-testid="live" data-state={view.link.at}>
          {linkText(view, nowMs, asOf)}
        </p>
        {/* Spoken when something else is wrong, and not whenever a number moves. */}
        <p role="status" className={styles.spoken}>
          {health.state === "well" ? "The Well is well." : health.faults.join(", ")}
        </p>
      </section>
      <Figures sample={last} asOf={asOf} />
      <Ribbon events={view.events} range={view.range} untilMs={last?.at ?? nowMs} />
      <Tabs shown={tab} onShow={(tab) => show({ tab, room: null })} />
      <section id={`panel-${tab}`} role="tabpanel" aria-labelledby={`tab-${tab}`} className={styles.panel} data-testid={`panel-${tab}`}>
        {tab === "charts" ? <Charts recording={view.recording} range={view.range} onRange={(range) => show({ range })} last={last} stale={stale} /> : null}
        {tab === "rooms" ? <Rooms token={observatory.token} opened={room} onOpen={(room) => show({ room })} /> : null}
        {tab === "life" ? <Life stages={last?.stages ?? []} asOf={asOf} /> : null}
        {tab === "events" ? <Events events={view.events} /> : null}
      </section>
    </>
  );
}

function linkText({ link, recent }: ObservatoryView, nowMs: number, asOf: string | null): string {
  const numbers = asOf === null ? "" : `, numbers are as of ${asOf}`;
  switch (link.at) {
    case "connecting":
      return recent.length === 0 ? "Connecting…" : `Connecting again…${numbers}`;
    case "live":
      return asOf === null ? "Live, once a second" : `No word from the server${numbers}`;
    case "waiting":
      return `${link.why}. Trying again in ${Math.max(0, Math.ceil((link.untilMs - nowMs) / 1_000))} s${numbers}`;
    case "refused":
      return "Refused";
  }
}

function Tabs({ shown, onShow }: { shown: Tab; onShow: (tab: Tab) => void }) {
  const list = useRef<HTMLDivElement>(null);

  function move(event: KeyboardEvent): void {
    const at = TABS.indexOf(shown);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 }[event.key];
    const tab = to === undefined ? undefined : TABS[(to + TABS.length) % TABS.length];
    if (tab === undefined) return;
    event.preventDefault();
    onShow(tab);
    list.current?.querySelector<HTMLElement>(`#tab-${tab}`)?.focus();
  }

  return (
    <div ref={list} role="tablist" aria-label="What to look at" className={styles.tabs} onKeyDown={move}>
      {TABS.map((id) => (
        <button
          key={id}
          type="button"
          role="tab"
          id={`tab-${id}`}
          aria-selected={id === shown}
          aria-controls={id === shown ? `panel-${id}` : undefined}
          tabIndex={id === shown ? 0 : -1}
          onClick={() => onShow(id)}
          data-testid={`tab-${id}`}
        >
          {LABELS[id]}
        </button>
      ))}
    </div>
  );
}

/** What the address says is shown, and how to show something else: the way back leads to what was shown before. */
function usePlace(): [Place, (change: Partial<Place>) => void] {
  const place = placeOf(useSearch());
  const [, go] = useLocation();
  return [
    place,
    (change) => {
      const address = addressOf({ ...place, ...change });
      if (address !== addressOf(place)) go(address);
    },
  ];
}

/** The time, as it passes in seconds: silence is seen although nothing comes. */
function useNow(): number {
  const [nowMs, setNowMs] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return nowMs;
}
