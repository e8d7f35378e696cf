/**
 * Reads JSON so that numbers keep their text: `1E5` stays `1E5`, and 2^53 + 1 is not rounded. Browsers that cannot do
 * that yet read numbers as they always did.
 */
export function readExactly(text) {
  const keeps = typeof JSON.rawJSON === 'function';
  return JSON.parse(text, (_, value, context) =>
    keeps && typeof value === 'number' && context?.source ? JSON.rawJSON(context.source) : value);
}

/** The keys and values of a JSON object, each value as the text of it. */
export const entries = (object) => Object.entries(object).map(([key, value]) => [key, JSON.stringify(value)]);

/**
 * The JSON object of keys and values as people typed them: `{ json }`, or `{ wrong, at }` with what is wrong and in
 * which row. Rows without key and value count for nothing.
 */
export function compose(rows) {
  const parts = [];
  const seen = new Set();
  for (const [at, [key, value]] of rows.entries()) {
    if (!key && !value.trim()) continue;
    if (seen.has(key)) return { at, wrong: `${key} stands there twice.` };
    seen.add(key);
    try {
      JSON.parse(value);
    } catch {
      const hint = value.trim() ? `Text stands in quotes: ${JSON.stringify(value.trim())}` : 'A value is missing: "", 0, null';
      return { at, wrong: `${key}: that is no JSON. ${hint}.` };
    }
    parts.push(`${JSON.stringify(key)}:${value.trim()}`);
  }
  return { json: `{${parts.join(',')}}` };
}
