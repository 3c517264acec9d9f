// The provider's signing keys: one for each algorithm, the newest first; clients choose by `id_token_signed_response_alg`.
import { SignJWT, exportJWK, generateKeyPair, importJWK } from 'jose';

const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];
let made = 0;

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true, crv: alg === 'EdDSA' ? 'Ed25519' : undefined });
  return { ...(await exportJWK(privateKey)), kid: `${alg}-${++made}-${process.pid}`, alg, use: 'sig' };
}

const newKeys = () => Promise.all(ALGORITHMS.map(newKey));

export class Keys {
  constructor(all) {
    this.all = all;
  }

  static async make() {
    return new Keys(await newKeys());
  }

  /** Sign with new keys from now on. The old ones stay published until `retire`, where `at once` is not asked for. */
  async rotate({ at_once: atOnce = false } = {}) {
    this.all = [...(await newKeys()), ...(atOnce ? [] : this.all)];
  }

  /** Take all but the newest keys out of the published set. */
  retire() {
    this.all = this.all.slice(0, ALGORITHMS.length);
  }

  /** Sign any claims with the newest key of an algorithm. */
  async sign(claims, { alg = 'RS256', header = {} } = {}) {
    const key = this.all.find((one) => one.alg === alg);
    return new SignJWT(claims).setProtectedHeader({ alg, kid: key.kid, ...header }).sign(await importJWK(key, alg));
  }
}
