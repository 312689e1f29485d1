/** The Well's mark: looking down a well, a drop above its ring on the water. */
export function Mark({ size = 28 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" fill="none" aria-hidden="true">
      <g stroke="var(--accent)" strokeLinecap="round">
        <circle cx="16" cy="16" r="14" strokeWidth="2" opacity="0.4" />
        <path d="M7 18a9.1 9.1 0 0 0 18 0" strokeWidth="2.4" />
      </g>
      <circle cx="16" cy="13" r="3" fill="var(--accent)" />
    </svg>
  );
}
