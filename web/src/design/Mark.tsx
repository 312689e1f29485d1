/** The Well's mark: looking down a well, ring below ring, to the water. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" fill="none" stroke="var(--accent)" strokeWidth="2" aria-hidden="true">
      <circle cx="16" cy="16" r="14" />
      <circle cx="16" cy="18.2" r="9.3" opacity="0.6" />
      <circle cx="16" cy="20.4" r="4.6" fill="var(--accent)" stroke="none" />
    </svg>
  );
}
