/** An invalid request, or one that this engine cannot do. */
export class InputError extends Error {
  /**
   * @param field the request's field
   * @param reason its value, what is allowed, and what to do
   */
  constructor(readonly field: string, reason: string) {
    super(`${field}: ${reason}`);
  }
}
