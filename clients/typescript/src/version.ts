/** The version of this package. A test holds it equal to package.json. */
export const VERSION = "0.1.0";

/** What the client calls itself in every call. */
export const USER_AGENT = `dashgate-typescript/${VERSION}`;
