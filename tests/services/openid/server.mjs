// An OpenID provider on loopback for tests and for trying social sign-in out: panva's `oidc-provider`, which is
// certified, with persons, keys and faults that a control plane sets while it runs.
//
//   node server.mjs '{"port": 4434, "clients": [{"client_id": "shop", …}], "persons": [{"email": …, "password": …}]}'
//
// Its answers to the control plane are in `control.mjs`. It listens on 127.0.0.1 only, and every secret in it is known.
import http from 'node:http';
import { now, setClock } from './clock.mjs';
import { Faults } from './faults.mjs';
import { Keys } from './keys.mjs';
import { Persons } from './persons.mjs';
import { Store } from './store.mjs';
import { control } from './control.mjs';
import { interaction, page } from './pages.mjs';
import { build } from './provider.mjs';

const told = JSON.parse(process.argv[2] || '{}');
const HOST = '127.0.0.1';
const PORT = told.port || 4434;

const world = {
  issuer: told.issuer || `http://${HOST}:${PORT}`,
  page: told.page || null,
  persons: new Persons(told.persons || []),
  keys: await Keys.make(),
  store: new Store(),
  faults: new Faults(),
  counts: {},
  notices: [],
  now,
  setClock,
};
world.rebuild = () => {
  world.provider = build(world);
  world.answer = world.provider.callback();
};
for (const client of told.clients || []) world.store.keepClient(client);
world.rebuild();

http
  .createServer(async (request, response) => {
    try {
      const path = request.url.split('?')[0];
      if (path.startsWith('/_control/')) return await control(world, request, response);
      world.counts[path] = (world.counts[path] || 0) + 1;
      if (await world.faults.answer(path, request, response)) return undefined;
      if (path.startsWith('/interaction/')) return await interaction(world, request, response);
      if (path === '/' && world.page) return await page(world, request, response);
      return await world.answer(request, response);
    } catch (failed) {
      console.error(failed);
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' });
      return response.end(`${failed.name}: ${failed.message}\n`);
    }
  })
  .listen(PORT, HOST, () => console.log(`OpenID provider at ${world.issuer}`));
