// What must not outlive this process: child processes and their scratch folders, whatever ends the tests.

/** Everything with a method `end` that works without waiting. */
export const ends = new Set();

process.on('exit', () => ends.forEach((one) => one.end()));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(1));
