// Text that others chose (an image's command, a label, a registry's message) made harmless to a terminal, which
// would obey the control characters in it.

/** Control characters, C1 and DEL included, as `\x1b`. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_C}]/gu, escaped);
}

/** In double quotes, as Go's strconv.Quote. */
export function quote(text: string): string {
  return `"${text
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n')
    .replaceAll('\t', '\\t')
    .replaceAll('\r', '\\r')
    .replace(/[\p{Cc}\p{Bidi_C}]/gu, escaped)}"`;
}

/** JSON that is the same to a parser, without the characters JSON itself lets through. */
export function plainJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, null, indent).replace(
    /[\u007f-\u009f]|\p{Bidi_C}/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function escaped(character: string): string {
  const code = character.codePointAt(0)!.toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
}
