/** The admin's token: kept as long as the tab, and by no other page. */

import { looksLikeToken } from "./tokens";

const KEY = "well.admin";

export function adminToken(): string | null {
  try {
    const token = sessionStorage.getItem(KEY);
    return token !== null && looksLikeToken(token) ? token : null;
  } catch {
    return null;
  }
}

export function keepAdminToken(token: string | null): void {
  try {
    if (token === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, token);
  } catch {
    // Then it lasts as long as the page.
  }
}
