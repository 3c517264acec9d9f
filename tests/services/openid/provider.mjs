// The provider itself. Consent is given on the same page as the password: there is no second page.
import { Provider } from 'oidc-provider';
import { Adapter } from './store.mjs';
import { confirmed, questioned } from './pages.mjs';
import { claimsOf, features, register } from './resources.mjs';

const SCOPES = ['openid', 'offline_access', 'profile', 'email'];
const CLAIMS = {
  openid: ['sub'],
  email: ['email', 'email_verified'],
  profile: ['name', 'given_name', 'family_name', 'locale', 'picture'],
  acr: null,
  amr: null,
};

/** Make a provider with the keys of now. */
export function build(world) {
  const provider = new Provider(world.issuer, {
    adapter: Adapter,
    jwks: { keys: world.keys.all },
    cookies: { keys: ['known-to-everybody'] },
    scopes: SCOPES,
    claims: CLAIMS,
    acrValues: ['urn:test:password'],
    // As Google, Apple and Microsoft do, and against the library's default: ID tokens hold the claims of the scopes.
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    pkce: { required: () => false },
    // Back-channel logouts go to applications on loopback, which the library's own dispatcher refuses to call.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    ttl: { AccessToken: 3600, AuthorizationCode: 60, IdToken: 3600, RefreshToken: 86400, Grant: 86400, Interaction: 600, Session: 86400 },
    features: {
      devInteractions: { enabled: false },
      claimsParameter: { enabled: true },
      backchannelLogout: { enabled: true },
      ...features,
      rpInitiatedLogout: { enabled: true, logoutSource: questioned, postLogoutSuccessSource: confirmed },
    },
    extraTokenClaims: claimsOf(world),
    findAccount: (ctx, sub) => {
      const claims = world.persons.withSubject(sub);
      return claims && { accountId: sub, claims: () => ({ ...claims }) };
    },
    loadExistingGrant: async (ctx) => {
      const { client, session } = ctx.oidc;
      const known = session.grantIdFor(client.clientId);
      const grant = (known && (await provider.Grant.find(known))) || new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope(SCOPES.join(' '));
      grant.addOIDCClaims(['acr', 'amr', 'email', 'email_verified', 'name']);
      for (const resource of Object.keys(ctx.oidc.resourceServers || {})) grant.addResourceScope(resource, SCOPES.join(' '));
      await grant.save();
      return grant;
    },
    interactions: { url: (ctx, asked) => `/interaction/${asked.uid}` },
    renderError: async (ctx, out) => {
      ctx.type = 'json';
      ctx.body = out;
    },
  });
  register({ ...world, provider });
  const note = (what) => (ctx, ...told) => world.notices.push({ what, client: told.find((one) => one?.clientId)?.clientId });
  provider.on('backchannel.success', note('backchannel.success'));
  provider.on('backchannel.error', (ctx, failed, client) => {
    world.notices.push({ what: 'backchannel.error', client: client.clientId, why: failed.message });
  });
  provider.on('server_error', (ctx, failed) => console.error(failed));
  return provider;
}
