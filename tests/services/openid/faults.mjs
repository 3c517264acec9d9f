// What goes wrong, by the end of a path: {"/token": {"status": 500, "delay": 0.5, "body": "…", "drop": true, "times": 1}}.
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

export class Faults {
  #byPath = new Map();

  /** Replace every fault. The path "" is the end of all of them. */
  set(faults) {
    this.#byPath = new Map(Object.entries(faults));
  }

  /** Answer as the path's fault wants; return whether that was the answer. */
  async answer(path, request, response) {
    for (const [end, fault] of this.#byPath) {
      if (!path.endsWith(end) || (fault.times !== undefined && fault.times-- <= 0)) continue;
      if (fault.delay) await pause(fault.delay);
      if (fault.drop) {
        request.socket.destroy();
        return true;
      }
      if (fault.status || fault.body !== undefined) {
        response.writeHead(fault.status || 200, { 'content-type': fault.type || 'application/json', ...fault.headers });
        response.end(fault.body ?? '');
        return true;
      }
    }
    return false;
  }
}
