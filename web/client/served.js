import { served } from './base.js';

served.by = import.meta.url;
