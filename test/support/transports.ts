import { isNativeAvailable, nativeUnavailabilityCause } from 'odradek';

export type TransportName = 'js' | 'native';

/** The transports that every behavioural suite runs over. */
export const transports: readonly TransportName[] = isNativeAvailable() ? ['js', 'native'] : ['js'];

const { CI } = process.env;

if (CI === 'true' && !isNativeAvailable()) {
  throw new Error('under CI the native transport must be tested too', {
    cause: nativeUnavailabilityCause(),
  });
}
