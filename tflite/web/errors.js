/** Something that the user can mend; the page shows its message, one line. */
export class UserError extends Error {}
