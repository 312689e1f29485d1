import { Component, lazy, Suspense, type ReactNode } from "react";
import { Redirect, Route, Switch, useSearch } from "wouter";
import { Button } from "./design/Button";
import { Notice } from "./design/Notice";
import { LandingPage } from "./pages/landing/LandingPage";
import { NotFoundPage } from "./pages/not-found/NotFoundPage";
import { MissingPit } from "./pages/pit/MissingPit";
import { replayOfPath } from "./room/replay-path";
import { roleOfQuery, slugOfPath } from "./room/slug";
import { textOfPath } from "./room/text-path";

/** One folder in `pages/` for each route. Pages that carry a document load on their own. */
const loadPitPage = () => import("./pages/pit/PitPage");
const PitPage = lazy(loadPitPage);
// Whoever opens a pit's own address should not wait for React before the page is even asked for.
if (location.pathname.startsWith("/pit/")) void loadPitPage();
const loadReplayPage = () => import("./pages/replay/ReplayPage");
const ReplayPage = lazy(loadReplayPage);
if (location.pathname.startsWith("/replay/")) void loadReplayPage();
const AdminPage = lazy(() => import("./pages/admin/AdminPage"));
const ObservatoryPage = lazy(() => import("./pages/observatory/ObservatoryPage"));
const loadTextPage = () => import("./pages/text/TextPage");
const TextPage = lazy(loadTextPage);
if (location.pathname.startsWith("/text/")) void loadTextPage();

export function App() {
  return (
    <Mishap>
      <Suspense>
        <Switch>
          <Route path="/" component={LandingPage} />
          <Route path="/pit/:slug">{({ slug }) => <PitRoute segment={slug} />}</Route>
          <Route path="/replay/*">{() => <ReplayRoute />}</Route>
          <Route path="/admin" component={AdminPage} />
          <Route path="/observatory" component={ObservatoryPage} />
          <Route path="/text/*">{() => <TextRoute />}</Route>
          <Route component={NotFoundPage} />
        </Switch>
      </Suspense>
    </Mishap>
  );
}

function PitRoute({ segment }: { segment: string }) {
  useSearch();
  // The router decodes what it gives; the role is judged by what stands in the address.
  const query = location.search;
  const slug = slugOfPath(segment);
  const role = roleOfQuery(query);
  if (slug === null) return <MissingPit slug={segment} role={role} onOpen={null} />;
  if (slug !== segment) return <Redirect to={`/pit/${slug}${query}`} replace />;
  return <PitPage key={`${slug} ${query}`} slug={slug} role={role} query={query} />;
}

function ReplayRoute() {
  // The router decodes what it gives, and a name may hold an encoded slash.
  const room = replayOfPath(location.pathname);
  if (room === null) return <NotFoundPage />;
  const role = roleOfQuery(location.search);
  return <ReplayPage key={`${room.space}/${room.name}`} space={room.space} name={room.name} role={role} />;
}

function TextRoute() {
  const name = textOfPath(location.pathname);
  if (name === null) return <NotFoundPage />;
  const role = roleOfQuery(location.search);
  return <TextPage key={`${name} ${role}`} name={name} role={role} />;
}

/** What a person sees should a page break: never a blank screen. */
class Mishap extends Component<{ children: ReactNode }, { broken: boolean }> {
  override state = { broken: false };

  static getDerivedStateFromError(): { broken: boolean } {
    return { broken: true };
  }

  override render(): ReactNode {
    if (!this.state.broken) return this.props.children;
    return (
      <Notice
        title="This page has tripped"
        testid="mishap"
        actions={
          <Button kind="primary" onClick={() => location.reload()}>
            Load it again
          </Button>
        }
      >
        <p>Something in it went wrong. What was saved is safe in the log.</p>
      </Notice>
    );
  }
}
