// The HTTP API: one function, which returns the answer or throws why there is none.

const ANSWER_MS = 10000;

/** `status` is 0 when there was no answer at all. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The JSON at a path with these parameters, without those that are undefined. Throws ApiError. */
export async function get(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given).toString();
  try {
    const answer = await fetch(query ? `${path}?${query}` : path, { signal: AbortSignal.timeout(ANSWER_MS) });
    const body = await answer.json();
    if (answer.ok) return body;
    throw new ApiError(body.detail ?? body.title ?? answer.statusText, answer.status);
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError(String(error.message ?? error), 0);
  }
}
