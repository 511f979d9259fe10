export interface CodeBlock {
  readonly language: string;
  /** What stands behind the language: ```` ```ts server.ts ````. */
  readonly file: string | undefined;
  readonly text: string;
}

/** The fenced blocks of a Markdown page, in their order. */
export function codeBlocks(page: string): CodeBlock[] {
  return [...page.matchAll(/^```(\w*)(?: (\S+))?\n(.*?)^```$/gms)].map(
    ([, language, file, text]) => ({ language, file, text }) as CodeBlock,
  );
}
