// The provider's clock, which may be off: the library asks `Date.now` for every time that it writes into a token.
const machine = Date.now;
let offset = 0;

Date.now = () => machine() + offset * 1000;

/** The provider's time in whole seconds since 1970. */
export const now = () => Math.floor(Date.now() / 1000);

/** Put the clock this many seconds forward, or back where it is negative. */
export const setClock = (seconds) => {
  offset = seconds;
};
