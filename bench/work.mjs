// How much is 1 ms of work on this machine: rounds of a hash, the same for every server, measured
// once for a run. A handler that watched the clock would do less work where cores are short.
import { pbkdf2Sync } from 'node:crypto';

const triedRounds = 5000;
const tries = 20;

/** Rounds of PBKDF2 with SHA-256 that take a millisecond on an undisturbed core. */
export function roundsPerMs() {
  let bestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < tries; i++) {
    const began = process.hrtime.bigint();
    pbkdf2Sync('odradek', 'spool', triedRounds, 32, 'sha256');
    bestMs = Math.min(bestMs, Number(process.hrtime.bigint() - began) / 1e6);
  }
  return Math.round(triedRounds / bestMs);
}
