// npm run bench
import { buildLoad } from './load.mjs';
import { runRounds } from './rounds.mjs';
import { buildServers, echoServers } from './servers.mjs';
import { echoShapes } from './shapes.mjs';

buildLoad();
buildServers();
const results = await runRounds({
  shapes: echoShapes,
  servers: echoServers,
  rounds: 1,
  times: { seconds: 0.5, warmupSeconds: 0.3 },
  deadline: performance.now() + 240_000,
  log: console.log,
});
console.log(JSON.stringify(results.absent));
