/** Sends a form as the browser would, but stays on the page. Resolves to what went wrong, or ''. */
export async function send(form) {
  try {
    const answer = await fetch(form.action, {
      method: form.method,
      body: new URLSearchParams(new FormData(form)),
      headers: { Accept: 'application/json, application/problem+json' },
    });
    return answer.ok ? '' : await reason(answer);
  } catch {
    return 'The gateway could not be reached.';
  }
}

async function reason(answer) {
  const problem = await answer.json().catch(() => ({}));
  return problem.detail ?? `The gateway answered ${answer.status}.`;
}
