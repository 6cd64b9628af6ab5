// The HTTP API: one function, which either gives the answer or says why there is none.

const PATIENCE = 10000;

/** `status` is 0 where there was no answer at all. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** The JSON at a path with these parameters; undefined ones are left out. Throws ApiError. */
export async function get(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given).toString();
  try {
    const answer = await fetch(query ? `${path}?${query}` : path, { signal: AbortSignal.timeout(PATIENCE) });
    const body = await answer.json();
    if (answer.ok) return body;
    throw new ApiError(body.detail ?? body.title ?? answer.statusText, answer.status);
  } catch (error) {
    throw error instanceof ApiError ? error : new ApiError(String(error.message ?? error), 0);
  }
}
