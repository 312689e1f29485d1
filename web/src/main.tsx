import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import "./design/tokens.css";
import "./design/base.css";
import { takeTokenFromAddress } from "./room/link";

takeTokenFromAddress(Date.now());
// A link that differs from this page's address only in its token does not load the page anew.
window.addEventListener("hashchange", () => {
  if (takeTokenFromAddress(Date.now())) location.reload();
});

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);

/** Old offline copies are cleared when the page has nothing better to do. */
setTimeout(() => void import("./room/offline-copy").then(({ sweepCopies }) => sweepCopies(Date.now())).catch(() => undefined), 5_000);
