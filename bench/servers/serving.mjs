// What every server in JavaScript tells the runner, and how it ends.

/** Says where it serves, and ends with the runner: when standard input does. */
export function serving(port) {
  console.log(JSON.stringify({ port }));
  process.stdin.on('end', () => process.exit(0)).resume();
}

/** Says why it can't be measured, and ends. */
export function absent(why) {
  console.log(JSON.stringify({ absent: why }));
  process.exit(0);
}
