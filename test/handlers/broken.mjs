import { nothing } from 'odradek';

export default nothing;
