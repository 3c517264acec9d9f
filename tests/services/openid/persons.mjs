// The persons of the provider. Any claim may be told of them, also one with an unusual type.
export class Persons {
  #byEmail = new Map();

  constructor(persons) {
    persons.forEach((person) => this.keep(person));
  }

  /** Keep a person; one with the same address is replaced. */
  keep({ password, email, sub = `sub-${email.split('@')[0]}`, ...claims }) {
    this.#byEmail.set(email, { password, claims: { sub, email, email_verified: true, ...claims } });
  }

  /** The claims of all persons. */
  all() {
    return [...this.#byEmail.values()].map((person) => person.claims);
  }

  /** The claims of the person with this address, where the password is right or is not asked for. */
  find(email, password) {
    const person = this.#byEmail.get(email);
    return person && (password === undefined || password === person.password) ? person.claims : undefined;
  }

  /** The claims of the person with this subject. */
  withSubject(sub) {
    return this.all().find((claims) => claims.sub === sub);
  }
}
