import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  MARK_RETRY_MS,
  MARK_STUCK_MS,
  ackStatus,
  after,
  hasUnsavedEdits,
  isStuck,
  markDue,
  newDurableAck,
  type AckEvent,
  type DurableAck,
} from "./durable-ack";

const writer = newDurableAck({ writes: true, unsent: false });

function run(ack: DurableAck, ...events: AckEvent[]): DurableAck {
  return events.reduce(after, ack);
}

const opened: AckEvent = { type: "opened" };
const exchanged: AckEvent = { type: "exchanged" };
const closed: AckEvent = { type: "closed" };
const edited: AckEvent = { type: "edited" };
const marked = (n: number, nowMs = 0): AckEvent => ({ type: "marked", n, nowMs });
const echoed = (n: number): AckEvent => ({ type: "echoed", n });
const refused: AckEvent = { type: "refused", reason: "read only" };

const saved = run(writer, opened, exchanged, marked(1), echoed(1));

describe("the first connection", () => {
  it("claims nothing before it is open", () => {
    expect(ackStatus(writer)).toBe("idle");
    expect(markDue(writer, 0)).toBeNull();
  });

  it("asks for proof as soon as the exchange is done, even without an edit", () => {
    const open = run(writer, opened);
    expect(markDue(open, 0)).toBeNull();
    const ready = run(open, exchanged);
    expect(ackStatus(ready)).toBe("saving");
    expect(markDue(ready, 0)).toBe(1);
  });

  it("is saved by the echo and by nothing less", () => {
    const waiting = run(writer, opened, exchanged, marked(1));
    expect(ackStatus(waiting)).toBe("saving");
    expect(ackStatus(run(waiting, echoed(1)))).toBe("saved");
    expect(markDue(saved, 0)).toBeNull();
  });
});

describe("editing", () => {
  it("stops being saved with the edit itself", () => {
    const editing = run(saved, edited);
    expect(ackStatus(editing)).toBe("saving");
    expect(markDue(editing, 0)).toBe(2);
  });

  it("is not saved by the echo of a mark older than the latest edit", () => {
    const late = run(saved, edited, marked(2), edited, echoed(2));
    expect(ackStatus(late)).toBe("saving");
    expect(markDue(late, 0)).toBe(3);
    expect(ackStatus(run(late, marked(3), echoed(3)))).toBe("saved");
  });

  it("keeps one mark in flight", () => {
    expect(markDue(run(saved, edited, marked(2), edited), MARK_RETRY_MS - 1)).toBeNull();
  });
});

describe("a lost echo", () => {
  const waiting = run(saved, edited, marked(2, 1_000));

  it("is asked for again after a while", () => {
    expect(markDue(waiting, 1_000 + MARK_RETRY_MS)).toBe(3);
    expect(ackStatus(run(waiting, marked(3), echoed(3)))).toBe("saved");
  });

  it("gives the connection up when nothing helps", () => {
    const retried = run(waiting, marked(3, 4_000), marked(4, 7_000));
    expect(isStuck(retried, 999 + MARK_STUCK_MS)).toBe(false);
    expect(isStuck(retried, 1_000 + MARK_STUCK_MS)).toBe(true);
  });

  it("that arrives late after all still proves what it covered", () => {
    expect(ackStatus(run(waiting, marked(3, 4_000), echoed(2)))).toBe("saved");
  });
});

describe("reconnecting", () => {
  it("keeps edits made offline and does not trust the old proof", () => {
    const offline = run(saved, closed, edited);
    expect(ackStatus(offline)).toBe("kept");
    expect(ackStatus(run(offline, opened))).toBe("kept");
    const ready = run(offline, opened, exchanged);
    expect(ackStatus(ready)).toBe("saving");
    expect(markDue(ready, 0)).toBe(2);
    expect(ackStatus(run(ready, marked(2), echoed(2)))).toBe("saved");
  });

  it("proves itself anew even when nothing was edited meanwhile", () => {
    const back = run(saved, closed, opened, exchanged);
    expect(ackStatus(run(saved, closed))).toBe("idle");
    expect(ackStatus(back)).toBe("saving");
  });

  it("ignores an echo that belongs to the connection before", () => {
    const back = run(saved, edited, marked(2), closed, opened, exchanged, echoed(2));
    expect(ackStatus(back)).toBe("saving");
    expect(hasUnsavedEdits(back)).toBe(true);
  });

  it("ignores an echo before the exchange, and a second opening resets", () => {
    expect(ackStatus(run(saved, opened, echoed(1)))).toBe("idle");
    expect(ackStatus(run(saved, edited, marked(2), opened, exchanged))).toBe("saving");
  });

  it("counts what an earlier visit left unsent", () => {
    const reopened = newDurableAck({ writes: true, unsent: true });
    expect(ackStatus(reopened)).toBe("kept");
    const proven = run(reopened, opened, exchanged, marked(1), echoed(1));
    expect(ackStatus(proven)).toBe("saved");
    expect(hasUnsavedEdits(proven)).toBe(false);
  });
});

describe("a refused edit", () => {
  it("is never saved on that connection, whatever is echoed", () => {
    const no = run(saved, edited, refused, marked(2), echoed(2));
    expect(ackStatus(no)).toBe("refused");
    expect(hasUnsavedEdits(no)).toBe(true);
    expect(ackStatus(run(no, closed, opened, exchanged))).toBe("saving");
  });
});

describe("a viewer", () => {
  const viewer = newDurableAck({ writes: false, unsent: true });

  it("never marks, never saves, never waits", () => {
    const ready = run(viewer, opened, exchanged, edited, refused);
    expect(markDue(ready, 0)).toBeNull();
    expect(ackStatus(ready)).toBe("watching");
    expect(hasUnsavedEdits(ready)).toBe(false);
  });
});

/** A naive model: remember, for the current connection, every mark and the edits before it. */
it("says saved only when the model agrees, whatever happens in whatever order", () => {
  const action = fc.constantFrom("open", "exchange", "close", "edit", "mark", "echo", "stray");
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      let ack = writer;
      let edits = 0;
      let up = false;
      let inFlight: { n: number; edits: number }[] = [];
      let provenHere = -1;
      for (const what of actions) {
        if (what === "open" || what === "close") {
          ack = after(ack, what === "open" ? opened : closed);
          up = false;
          inFlight = [];
          provenHere = -1;
        } else if (what === "exchange") {
          up = up || ack.link === "opening";
          ack = after(ack, exchanged);
        } else if (what === "edit") {
          edits += 1;
          ack = after(ack, edited);
        } else if (what === "mark") {
          const n = markDue(ack, Number.MAX_SAFE_INTEGER);
          if (n === null) continue;
          ack = after(ack, marked(n));
          inFlight.push({ n, edits });
        } else if (what === "echo") {
          const mark = inFlight.shift();
          if (mark === undefined) continue;
          ack = after(ack, echoed(mark.n));
          provenHere = Math.max(provenHere, mark.edits);
        } else {
          ack = after(ack, echoed(1_000_000));
        }
        expect(ackStatus(ack) === "saved").toBe(up && provenHere === edits);
      }
    }),
  );
});
