import { isNativeAvailable, nativeUnavailabilityCause } from 'odradek';

export type TransportName = 'js' | 'native';

/** A run under a sanitizer asks for the native transport alone: the other one has no native code. */
const { CI, ODRADEK_TEST_TRANSPORT: only } = process.env;

const wanted = (transport: TransportName): boolean => only === undefined || only === transport;

/** The transports that there are. */
export const transports: readonly TransportName[] = (
  isNativeAvailable() ? (['js', 'native'] as const) : (['js'] as const)
).filter(wanted);

/**
 * A transport, and where its processors run: `threadless` is native with `networkThreads: 0`; or
 * where its handlers run: `js pool` and `native pool` have them on threads of their own.
 */
export type Placement = TransportName | 'threadless' | 'js pool' | 'native pool';

/** Where every behavioural suite runs. */
export const placements: readonly Placement[] = (
  ['js', 'native', 'threadless', 'js pool', 'native pool'] as const
).filter((placement) => transports.includes(kindOf(placement)));

export function kindOf(placement: Placement): TransportName {
  if (placement === 'threadless' || placement === 'native pool') return 'native';
  return placement === 'js pool' ? 'js' : placement;
}

/** Whether the handlers run on threads of their own. */
export function isPooled(placement: Placement): boolean {
  return placement === 'js pool' || placement === 'native pool';
}

/** The options that make it so. */
export function placed(placement: Placement): { transport: TransportName; networkThreads?: 0 } {
  const transport = kindOf(placement);
  return placement === 'threadless' ? { transport, networkThreads: 0 } : { transport };
}

if (CI === 'true' && !isNativeAvailable()) {
  throw new Error('under CI the native transport must be tested too', {
    cause: nativeUnavailabilityCause(),
  });
}
