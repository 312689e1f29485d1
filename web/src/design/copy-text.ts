/**
 * The clipboard needs a secure page; on a plain LAN address the old way still works. `field` shows the text, if
 * there is one: without, it has one line.
 */
export async function copyText(text: string, field: HTMLInputElement | HTMLTextAreaElement | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const temporary = field ?? document.createElement("input");
    if (field === null) {
      temporary.value = text;
      document.body.append(temporary);
    }
    temporary.select();
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- nothing newer works without https
    const copied = document.execCommand("copy");
    if (field === null) temporary.remove();
    return copied;
  }
}
