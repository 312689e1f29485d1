/** The whole page, when somebody is not let in: why, what became of their edits, and what to do. */

import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";
import { Button } from "../design/Button";
import { useCountdown, waitText } from "../design/countdown";
import { Notice } from "../design/Notice";
import type { Unstored } from "../room/connection";
import { pathOfRoom, roomName, type RoomName } from "../room/link";
import { asksForToken, refusalOf, withoutWait, worthRetrying, type RefusalKind, type Thing } from "../room/refusal";
import { forgetToken, keepToken, tokenFor } from "../room/tokens";
import { TokenField, type Pasted } from "./TokenField";

const UNSTORED: Readonly<Record<Exclude<Unstored, "none">, string>> = {
  device: "What you changed and the server has not stored is kept on this device. It is sent when you are let in.",
  page: "What you changed and the server has not stored is on this page alone: leave it open until you are let in.",
  lost: "What you changed and the server has not stored is lost: this browser keeps nothing for pages.",
};

export interface RefusedProps {
  readonly room: RoomName;
  readonly thing: Thing;
  readonly kind: RefusalKind;
  /** The server's own words, with its code. */
  readonly said: string;
  /** How long the server asks to wait, in seconds. */
  readonly waitS: number | null;
  readonly unstored: Unstored;
  readonly onAgain: () => void;
  readonly testid: string;
}

export function Refused({ room, thing, kind, said, waitS, unstored, onAgain, testid }: RefusedProps) {
  const [, go] = useLocation();
  const left = useWait(waitS, onAgain);
  const { title, detail } = refusalOf(kind, thing);
  const retries = worthRetrying(kind);
  const name = roomName(room);
  const [kept] = useState(() => (asksForToken(kind) ? tokenFor(name, Date.now()) : null));

  /** Everything is asked anew, unless edits would go with the page. */
  function enterAgain(): void {
    if (unstored === "page") onAgain();
    else location.reload();
  }

  function take({ token, room: linked }: Pasted): void {
    const elsewhere = linked !== null && roomName(linked) !== name;
    keepToken(roomName(linked ?? room), token, Date.now());
    if (elsewhere) location.assign(pathOfRoom(linked));
    else enterAgain();
  }

  return (
    <Notice
      title={title}
      code={left === null ? said : withoutWait(said)}
      testid={testid}
      actions={
        <>
          {retries ? (
            <Button kind="primary" onClick={onAgain} disabled={left !== null && left > 0} data-testid="retry">
              {left !== null && left > 0 ? `Try again in ${waitText(left)}` : "Try again"}
            </Button>
          ) : null}
          {kept === null ? null : (
            <Button
              onClick={() => {
                forgetToken(kept);
                enterAgain();
              }}
              data-testid="without-token"
            >
              Go on without it
            </Button>
          )}
          <Button kind={retries || asksForToken(kind) ? "plain" : "primary"} onClick={() => go("/")}>
            Go to the start
          </Button>
        </>
      }
    >
      <p role="alert" data-testid="refusal" data-kind={kind}>
        {detail}
      </p>
      {unstored === "none" ? null : (
        <p data-testid="unstored" data-where={unstored}>
          {UNSTORED[unstored]}
        </p>
      )}
      {asksForToken(kind) ? <TokenField label="Another link, or a token" onToken={take} /> : null}
    </Notice>
  );
}

/** Seconds left of the wait that the server asked for. When it is over, it is tried again by itself, once. */
function useWait(waitS: number | null, onAgain: () => void): number | null {
  const [endsAtMs] = useState(() => (waitS === null ? null : Date.now() + Math.max(1, waitS) * 1_000));
  const left = useCountdown(endsAtMs);
  const again = useRef(onAgain);
  useEffect(() => {
    again.current = onAgain;
  });
  const over = left === 0;
  useEffect(() => {
    if (over) again.current();
  }, [over]);
  return left;
}
