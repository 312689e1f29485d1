import { useLocation } from "wouter";
import { Button } from "../../design/Button";
import { Notice } from "../../design/Notice";
import { usePageTitle } from "../../design/page-title";

export function NotFoundPage() {
  const [path, go] = useLocation();
  usePageTitle("Not found");
  return (
    <Notice
      title="Nothing at this depth"
      testid="not-found"
      code={path}
      actions={
        <Button kind="primary" onClick={() => go("/")}>
          Go to the start
        </Button>
      }
    >
      <p>There is no page at this address. Perhaps a character went missing on the way.</p>
    </Notice>
  );
}
