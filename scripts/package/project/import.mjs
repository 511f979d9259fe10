import * as odradek from 'odradek';
import prove from './prove.cjs';

await prove(odradek);
