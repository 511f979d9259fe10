// `--only`: a part of the shapes and servers.

/**
 * @param {import('./suites.mjs').Suite[]} suites
 * @param {string[]} names of shapes or servers, exact, or with a `*` at the end; none: all
 */
export function selectOnly(suites, names) {
  const shapes = suites.flatMap((suite) => suite.shapes);
  const servers = suites.flatMap((suite) => suite.servers);
  const wantedShapes = shapes.filter(({ name }) => names.some((one) => matches(one, name)));
  const wantedServers = servers.filter(({ name }) => names.some((one) => matches(one, name)));
  for (const one of names) {
    if ([...shapes, ...servers].some(({ name }) => matches(one, name))) continue;
    throw new Error(`--only ${one}: no shape or server has that name; see --list`);
  }
  return {
    shapes: wantedShapes.length > 0 ? wantedShapes : shapes,
    servers: wantedServers.length > 0 ? wantedServers : servers,
  };
}

function matches(pattern, name) {
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}
