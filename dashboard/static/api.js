// Requests to the dashboard API of the worker.

export class ApiError extends Error {}

/** The worker did not answer. */
export class AwayError extends ApiError {}

/** The key of this session may not ask this question. */
export class DeniedError extends ApiError {}

/**
 * Ask a question; returns the answer's document.
 * Throws ApiError (or one of its kinds) with a text for users; AbortError if the question was cancelled.
 */
export async function ask(question, parameters, signal) {
  let response;
  try {
    response = await fetch(`dashboard/api/${question}?${new URLSearchParams(parameters)}`, {
      signal, headers: { Accept: "application/json" }, credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AwayError("The worker cannot be reached.");
  }
  if (response.status === 401) {
    window.location.reload(); // the session has ended: the worker shows the sign-in page
    throw new ApiError("Please sign in again.");
  }
  let document;
  try {
    document = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(`The worker answered ${response.status} and no JSON.`);
  }
  if (response.status === 403) throw new DeniedError("Your key does not open this panel.");
  if (!response.ok) throw new ApiError(document.message ?? `The worker answered ${response.status}.`);
  return document;
}

/**
 * Milliseconds spent waiting for answers of the worker since a time (of performance.now).
 * Taken from the network's timings, which exclude the work of the page itself.
 */
export function workerTime(since) {
  const waits = performance.getEntriesByType("resource")
    .filter(({ name, startTime }) => startTime >= since && name.includes("/dashboard/api/"))
    .map(({ startTime, requestStart, responseEnd }) => [requestStart || startTime, responseEnd]) // 0: the request failed
    .sort(([one], [other]) => one - other);
  performance.clearResourceTimings(); // the browser's buffer is limited
  let [total, until] = [0, 0];
  for (const [start, end] of waits) {
    total += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
  }
  return total;
}
