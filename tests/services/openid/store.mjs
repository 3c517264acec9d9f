// Everything that the library stores, in memory. It outlives the provider object, which a change of keys makes anew.
const kept = new Map();

export class Store {
  /** Know a client; one with the same id is replaced. */
  keepClient(client) {
    kept.set(`Client:${client.client_id}`, client);
  }

  /** Forget everything but the clients: sessions, codes, grants, tokens. */
  forget() {
    for (const key of kept.keys()) if (!key.startsWith('Client:')) kept.delete(key);
  }
}

/** The library's adapter. */
export class Adapter {
  constructor(model) {
    this.model = model;
  }

  #key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload) {
    const key = this.#key(id);
    kept.set(key, payload);
    if (payload.uid) kept.set(`uid:${payload.uid}`, key);
    if (payload.grantId) kept.set(`grant:${payload.grantId}`, [...(kept.get(`grant:${payload.grantId}`) || []), key]);
  }

  async find(id) {
    return kept.get(this.#key(id));
  }

  async findByUid(uid) {
    return kept.get(kept.get(`uid:${uid}`));
  }

  async findByUserCode() {
    return undefined;
  }

  async consume(id) {
    kept.get(this.#key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    kept.delete(this.#key(id));
  }

  async revokeByGrantId(grantId) {
    for (const key of kept.get(`grant:${grantId}`) || []) kept.delete(key);
    kept.delete(`grant:${grantId}`);
  }
}
