// Lists that come in pages: tags of a repository, repositories of a registry (distribution-spec, "Content Discovery").

import type { Deed } from './failures.ts';
import type { Session } from './session.ts';

const pageLimit = 8 << 20;

/** The strings under `field`, page after page. `missing`: what a 404 means. */
export async function* pages(
  session: Session,
  path: string,
  field: 'tags' | 'repositories',
  { deed, missing, signal }: { deed: Deed; missing?: string; signal?: AbortSignal | undefined },
): AsyncGenerator<string, void, undefined> {
  const seen = new Set<string>();
  let target: string | URL | undefined = path;
  while (target !== undefined) {
    const { answer, body } = await session.document(target, pageLimit, `the ${field}`, { deed, signal });
    if (answer.status !== 200) throw session.refusalOf(answer, body, deed, missing);
    yield* names(body, field, session);
    seen.add(answer.url.href);
    const link = nextLink(answer.headers.link);
    target = link === undefined ? undefined : session.lead({ ...answer, headers: { location: link } });
    if (target && seen.has(target.href))
      throw session.failures.protocol(`leads from page to page of its ${field} in a circle`);
  }
}

function names(body: Buffer, field: string, session: Session): string[] {
  try {
    const list: unknown = (JSON.parse(body.toString('utf8')) as Record<string, unknown>)[field];
    // Go writes null for an empty list.
    if (list === null) return [];
    if (Array.isArray(list) && list.every((name): name is string => typeof name === 'string')) return list;
  } catch {
    // Said below.
  }
  throw session.failures.protocol(`answers with something that is no list of ${field}`);
}

/** The address of the next page in a Link header (RFC 8288). */
export function nextLink(header: string | string[] | undefined): string | undefined {
  for (const [, address, parameters = ''] of String(header ?? '').matchAll(/<([^<>]*)>((?:\s*;[^,<]*)*)/g)) {
    if (/;\s*rel\s*=\s*"?(?:[^";]*\s)?next(?:\s[^";]*)?"?\s*(?:;|$)/i.test(parameters)) return address;
  }
  return undefined;
}
