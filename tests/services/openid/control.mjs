// The control plane: what a test does to the provider and could not do as a visitor. Bodies are JSON.
//
//   POST /_control/client   a client's metadata (RFC 7591)   POST /_control/person   {email, password, …claims}
//   POST /_control/faults   see `faults.mjs`                 POST /_control/clock    {"offset": seconds}
//   POST /_control/rotate   {"at_once": bool}                POST /_control/retire
//   POST /_control/sign     {"claims", "alg", "header"}      POST /_control/automatic {"on": bool}: a login_hint is enough
//   POST /_control/access_token {email, client_id, resource, scope}: what a sign-in of that person would issue
//   POST /_control/kinds    {email, client_id}: a token of each kind that the library has
//   POST /_control/revoke   {"token"}: an opaque access token, which ends
//   POST /_control/reset    all of it as at the start, but for clients, persons and keys
//   GET  /_control/counts   requests by path                 GET  /_control/notices  what became of back-channel logouts
import { read } from './pages.mjs';
import { accessToken, oneOfEachKind } from './resources.mjs';

const ACTIONS = {
  client: async (world, told) => world.store.keepClient(told),
  person: async (world, told) => world.persons.keep(told),
  faults: async (world, told) => world.faults.set(told),
  clock: async (world, { offset }) => world.setClock(offset),
  automatic: async (world, { on }) => {
    world.automatic = on;
  },
  rotate: async (world, told) => {
    await world.keys.rotate(told);
    world.rebuild();
  },
  retire: async (world) => {
    world.keys.retire();
    world.rebuild();
  },
  sign: async (world, { claims, ...how }) => {
    const now = world.now();
    return { token: await world.keys.sign({ iss: world.issuer, iat: now, exp: now + 300, ...claims }, how) };
  },
  access_token: async (world, told) => ({ token: await accessToken(world, told) }),
  kinds: async (world, told) => oneOfEachKind(world, told),
  revoke: async (world, { token }) => (await world.provider.AccessToken.find(token))?.destroy(),
  reset: async (world) => {
    world.faults.set({});
    world.setClock(0);
    world.automatic = false;
    world.store.forget();
    world.notices.length = 0;
    for (const path of Object.keys(world.counts)) delete world.counts[path];
  },
  counts: async (world) => world.counts,
  notices: async (world) => world.notices,
};

export async function control(world, request, response) {
  const act = ACTIONS[request.url.slice('/_control/'.length)];
  const told = JSON.parse((await read(request)) || '{}');
  const said = act ? await act(world, told) : { error: 'no such action' };
  response.writeHead(act ? 200 : 404, { 'content-type': 'application/json' });
  response.end(JSON.stringify(said ?? {}));
}
