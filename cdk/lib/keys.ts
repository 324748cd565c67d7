/** The first API key, and the usage plan without which it would open nothing. */
export interface Keys {
  readonly keyId: string;
  readonly planId: string;
}
