require('./prove.cjs')(require('odradek'));
