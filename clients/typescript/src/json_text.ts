/**
 * Parses JSON text. The errors of the platforms quote the text, which may be secret: those of this
 * function have the position only, where the platform has it.
 */
export function parseJson(text: string): unknown {
  let problem: unknown;
  try {
    return JSON.parse(text);
  } catch (thrown) {
    problem = thrown;
  }
  const [position] = /\b(?:position \d+|line \d+ column \d+)\b/.exec(ownWords(problem)) ?? [];
  throw new SyntaxError(`not valid JSON${position === undefined ? "" : ` at ${position}`}`);
}

/** What a platform says, without what it quotes. */
function ownWords(problem: unknown): string {
  return String(problem).replace(/".*"/s, "");
}
