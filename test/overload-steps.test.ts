import { describe, expect, it, vi } from 'vitest';
import { ChangeableLimits } from '../src/limits.js';
import { type OverloadChange, OverloadSteps } from '../src/overload-steps.js';

const defaults = { shortenTimeoutsMs: 2000, stopAcceptingMs: 10_000, refuseRequestsMs: 60_000 };

/** Steps whose clock the test has: it says how long somebody waits, and lets the timer come. */
function makeSteps(limits: Partial<typeof defaults> = {}) {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  const changes: OverloadChange[] = [];
  const story: string[] = [];
  let waitMs = 0;
  const steps = new OverloadSteps(
    { ...defaults, ...limits },
    {
      longestWaitMs: () => waitMs,
      apply: () => story.push(`apply ${steps.step}`),
      changed: (change) => {
        changes.push(change);
        story.push(`changed to ${change.step}`);
      },
    },
  );
  const look = (...waits: number[]) => {
    for (const ms of waits) {
      waitMs = ms;
      vi.advanceTimersByTime(1000);
    }
  };
  steps.start();
  return { steps, changes, story, look };
}

describe('steps under overload', () => {
  it('come with a wait that two looks in a row have found, and go with the first that has not', () => {
    const { steps, changes, look } = makeSteps();
    look(1999, 5000);
    expect(steps.step).toBe('none');
    look(2000);
    expect(steps.step).toBe('shortenTimeouts');
    look(11_000, 10_500);
    expect(steps.step).toBe('stopAccepting');
    look(61_000, 62_000);
    expect(steps.step).toBe('refuseRequests');
    look(30_000);
    expect(steps.step).toBe('stopAccepting');
    look(0);
    expect(steps.step).toBe('none');
    expect(changes).toEqual([
      { step: 'shortenTimeouts', previousStep: 'none', longestWaitMs: 2000 },
      { step: 'stopAccepting', previousStep: 'shortenTimeouts', longestWaitMs: 10_500 },
      { step: 'refuseRequests', previousStep: 'stopAccepting', longestWaitMs: 62_000 },
      { step: 'stopAccepting', previousStep: 'refuseRequests', longestWaitMs: 30_000 },
      { step: 'none', previousStep: 'stopAccepting', longestWaitMs: 0 },
    ]);
    expect(steps.enteredTotal).toEqual({
      shortenTimeouts: 1,
      stopAccepting: 1,
      refuseRequests: 1,
    });
  });

  it('do not come where the event loop was blocked once, and not in turns with short waits', () => {
    const { steps, look } = makeSteps();
    look(90_000, 0, 90_000, 0, 1999, 90_000, 1999);
    expect(steps.step).toBe('none');
  });

  it('are in force before they are told', () => {
    const { story, look } = makeSteps();
    look(70_000, 70_000, 0);
    expect(story).toEqual([
      'apply refuseRequests',
      'changed to refuseRequests',
      'apply none',
      'changed to none',
    ]);
  });

  it('leave out one that is off', () => {
    const { steps, look } = makeSteps({ stopAcceptingMs: Infinity });
    look(70_000, 70_000);
    expect([...steps.inForce]).toEqual(['shortenTimeouts', 'refuseRequests']);
    expect(steps.enteredTotal).toEqual({ shortenTimeouts: 1, stopAccepting: 0, refuseRequests: 1 });
  });

  it('end when there are no connections, and then nothing wakes up', () => {
    const { steps, changes, look } = makeSteps();
    look(70_000, 70_000);
    expect(vi.getTimerCount()).toBe(1);
    steps.stop();
    expect(vi.getTimerCount()).toBe(0);
    expect(changes.at(-1)).toEqual({
      step: 'none',
      previousStep: 'refuseRequests',
      longestWaitMs: 0,
    });
    steps.start();
    look(70_000);
    expect(steps.step).toBe('none');
  });

  it('end for good when the server does', () => {
    const { steps, look } = makeSteps();
    look(70_000, 70_000);
    steps.end();
    steps.start();
    look(70_000, 70_000);
    expect(steps.step).toBe('none');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('need no timer where all are off, and get one when they are on', () => {
    const { steps, look } = makeSteps({
      shortenTimeoutsMs: Infinity,
      stopAcceptingMs: Infinity,
      refuseRequestsMs: Infinity,
    });
    expect(vi.getTimerCount()).toBe(0);
    steps.update(defaults);
    look(3000, 3000);
    expect(steps.step).toBe('shortenTimeouts');
  });

  it('are judged anew when their times change', () => {
    const { steps, changes, look } = makeSteps();
    look(5000, 5000);
    steps.update({ ...defaults, stopAcceptingMs: 4000 });
    expect(steps.step).toBe('stopAccepting');
    steps.update({ ...defaults, shortenTimeoutsMs: 6000 });
    expect(steps.step).toBe('none');
    expect(changes.map(({ longestWaitMs }) => longestWaitMs)).toEqual([5000, 5000, 5000]);
  });

  it('make other limits of those that the user has set, whenever that was', () => {
    const limits = new ChangeableLimits({}, []);
    const { steps, look } = makeSteps();
    expect(steps.applyTo(limits.current)).toEqual(limits.current);
    look(70_000, 70_000);
    expect(steps.applyTo(limits.current)).toEqual({
      ...limits.current,
      timeouts: {
        ...limits.current.timeouts,
        connectionsMaxIdleMs: 60_000,
        frameTimeoutMs: 6000,
        writeTimeoutMs: 6000,
      },
      connections: { ...limits.current.connections, isStopped: true },
    });
    limits.change({ connectionsMaxIdleMs: 0, frameTimeoutMs: 15, maxConnections: 5 });
    expect(steps.applyTo(limits.current)).toMatchObject({
      timeouts: { connectionsMaxIdleMs: 0, frameTimeoutMs: 2, writeTimeoutMs: 6000 },
      connections: { maxConnections: 5, isStopped: true },
    });
    look(0);
    expect(steps.applyTo(limits.current)).toEqual(limits.current);
    expect(limits.current.timeouts.frameTimeoutMs).toBe(15);
  });
});

describe('the times of the steps', () => {
  it('have defaults, and what a change does not name stays', () => {
    const limits = new ChangeableLimits({ overload: { refuseRequestsMs: Infinity } }, []);
    expect(limits.current.overload).toEqual({ ...defaults, refuseRequestsMs: Infinity });
    limits.change({ overload: { stopAcceptingMs: 5000 } });
    expect(limits.current.overload).toEqual({
      shortenTimeoutsMs: 2000,
      stopAcceptingMs: 5000,
      refuseRequestsMs: Infinity,
    });
    limits.change({ overload: { refuseRequestsMs: undefined as unknown as number } });
    expect(limits.current.overload.refuseRequestsMs).toBe(60_000);
    limits.change({ overload: undefined as unknown as object });
    expect(limits.current.overload).toEqual(defaults);
  });

  it('must ascend in a change, too, and then nothing has changed', () => {
    const limits = new ChangeableLimits({}, []);
    const descending = { overload: { stopAcceptingMs: 1999 }, maxConnections: 5 };
    expect(() => limits.change(descending)).toThrow(/stopAcceptingMs must be at least 2000/);
    expect(() => limits.change({ overload: { soon: 1 } as object })).toThrow(/no option "soon"/);
    expect(limits.current.connections.maxConnections).toBe(65_536);
    limits.change({ overload: { shortenTimeoutsMs: Infinity, stopAcceptingMs: 1 } });
    expect(limits.current.overload.stopAcceptingMs).toBe(1);
  });
});
