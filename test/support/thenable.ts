type Then = (resolve: (value: Uint8Array) => void, reject: (error: unknown) => void) => void;

/** What is no promise and can be awaited all the same, and may behave worse than promises can. */
export function thenable(then: Then): PromiseLike<Uint8Array> {
  return { then } as unknown as PromiseLike<Uint8Array>;
}
