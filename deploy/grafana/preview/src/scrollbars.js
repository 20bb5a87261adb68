// The package is CommonJS; Grafana's modules import its default as bundlers of theirs do, esbuild as Node does.
import scrollbars from '../node_modules/react-custom-scrollbars-2/lib/index.js';
export default scrollbars.default;
