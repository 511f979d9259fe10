// What each thread of hash-pool.ts runs.
import { randomBytes, scryptSync } from 'node:crypto';
import type { HandlerContext, HandlerModule } from 'odradek';

let cost = 0;

export function setup({ data }: HandlerContext<{ cost: number }>): void {
  cost = data.cost;
}

const handle: HandlerModule['default'] = ({ body }) => {
  const salt = randomBytes(16);
  const hash = scryptSync(body, salt, 32, { N: cost });
  return Buffer.from(`${salt.toString('hex')}:${hash.toString('hex')}`);
};

export default handle;
