export async function setup() {
  throw Object.assign(new Error('no setup today'), { code: 'E_TODAY' });
}

export default ({ body }) => body;
