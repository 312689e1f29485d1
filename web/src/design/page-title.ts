import { useEffect } from "react";

export function usePageTitle(title: string | null): void {
  useEffect(() => {
    document.title = title === null ? "The Well" : `${title} · The Well`;
  }, [title]);
}
